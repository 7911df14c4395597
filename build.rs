//! Compiles `proto/` without a system `protoc`, and embeds the form sets of `forms/`.

use std::error::Error;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost_types::FileDescriptorSet;
use prost_types::field_descriptor_proto::Type;

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    compile_protos(&out)?;
    embed_form_sets(&out)?;
    embed_example(&out)?;
    name_fold_sources()
}

/// Names what folds the journal by its sources: a state that other sources have saved is none of this program's.
fn name_fold_sources() -> Result<(), Box<dyn Error>> {
    let mut hash = DefaultHasher::new();
    // What folds it, and what reads its records before that.
    for (folder, ending) in [
        ("src/budget", "rs"),
        ("src/ledger", "rs"),
        ("src/consolidator", "rs"),
        ("src/proto", "rs"),
        ("proto/budget/storage", "proto"),
    ] {
        println!("cargo::rerun-if-changed={folder}");
        for file in files_below(Path::new(folder), ending)? {
            (&file, fs::read(&file)?).hash(&mut hash);
        }
    }
    println!("cargo::rustc-env=FOLD_SOURCES={:016x}", hash.finish());
    Ok(())
}

fn compile_protos(out: &Path) -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let protos = files_below(Path::new("proto"), "proto")?;
    let mut descriptors = protox::compile(&protos, ["proto"])?;
    fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&descriptors))?;
    keep_as_bytes(&mut descriptors, ".budget.consolidation.v1.RuleFinding");
    tonic_prost_build::configure()
        .extern_path(".budget.consolidation.v1.RowChunk", "crate::proto::RowChunk")
        .extern_path(".budget.consolidation.v1.ShownCell", "crate::proto::ShownCell")
        .extern_path(".budget.consolidation.v1.TableHeader", "crate::proto::TableHeader")
        .compile_fds(descriptors)?;
    Ok(())
}

/// Fields of that message become its bytes in the generated code, which on the wire are the same: `proto/write.rs` says why.
fn keep_as_bytes(descriptors: &mut FileDescriptorSet, message: &str) {
    let messages = descriptors.file.iter_mut().flat_map(|file| &mut file.message_type);
    for field in messages.flat_map(|message| &mut message.field).filter(|field| field.type_name() == message) {
        field.set_type(Type::Bytes);
        field.type_name = None;
    }
}

/// Writes a constant with the files of every folder in `forms/`: `&[&[(file name, bytes)]]`.
fn embed_form_sets(out: &Path) -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=forms");
    let root = env::current_dir()?.join("forms");
    let mut code = String::from("&[\n");
    for folder in sorted(&root)?.into_iter().filter(|path| path.is_dir()) {
        code.push_str("    &[\n");
        for file in
            sorted(&folder)?.into_iter().filter(|path| path.extension().is_some_and(|e| e == "toml" || e == "csv"))
        {
            let name = file.file_name().and_then(|name| name.to_str()).ok_or("file name")?;
            writeln!(code, "        ({name:?}, include_bytes!({:?})),", file.to_str().ok_or("path")?)?;
        }
        code.push_str("    ],\n");
    }
    code.push(']');
    fs::write(out.join("form_sets.rs"), code)?;
    Ok(())
}

/// Writes a constant with the files that `demo` plays: `&[(path, bytes)]`.
fn embed_example(out: &Path) -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=examples/fenyang-2024");
    let root = env::current_dir()?.join("examples/fenyang-2024");
    let mut code = String::from("&[\n");
    for extension in ["csv", "json", "toml"] {
        for file in files_below(&root, extension)? {
            let name = file.strip_prefix(&root)?.to_str().ok_or("file name")?;
            writeln!(code, "    ({name:?}, include_bytes!({:?})),", file.to_str().ok_or("path")?)?;
        }
    }
    code.push(']');
    fs::write(out.join("example.rs"), code)?;
    Ok(())
}

fn files_below(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut found = Vec::new();
    for path in sorted(folder)? {
        if path.is_dir() {
            found.extend(files_below(&path, extension)?);
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    Ok(found)
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    paths.sort();
    Ok(paths)
}
