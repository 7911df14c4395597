//! The check rules on the published filing: what they find is what the document says.

use budget_consolidator::budget::rule::{Books, Checked, Verdict, evaluate};
use budget_consolidator::submission_file::SubmissionFile;

use crate::support::*;

fn checked(path: &str, id: &str) -> Checked {
    let text = std::fs::read_to_string(project(path)).unwrap();
    let file = SubmissionFile::read(&text).unwrap();
    let form = form(id);
    let reading = file.read_on(&form);
    evaluate(&form, &Books::of(&reading.submission), |_| true)
}

#[test]
fn the_seed_is_found_out() {
    let checked = checked("examples/fenyang-2024/submissions/407002.json", "shanxi-2024");
    println!("{:?}", checked.counts);
    for f in &checked.findings {
        let side = |q: &Option<budget_consolidator::budget::rule::Quantity>| {
            q.as_ref().map(|q| q.to_string()).unwrap_or_default()
        };
        println!(
            "{} {} {} {}.{} {} | {} {} {} | diff {} tol {} | {} | {}",
            f.strength.as_str(),
            f.verdict.as_str(),
            f.rule,
            f.check,
            f.link,
            f.place,
            side(&f.left),
            f.relation,
            side(&f.right),
            side(&f.difference),
            side(&f.tolerance),
            f.cause.as_ref().map(|c| format!("{c:?}")).unwrap_or_default(),
            f.after.as_deref().unwrap_or("")
        );
    }
    let _ = Verdict::Pass;
}
