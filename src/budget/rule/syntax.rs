//! From the text of a formula to its tree: words, grammar, and where each part stands.
//!
//! Knows no form set: whether a name is a table, a row or a column is for `resolve/` to say.
//! The grammar stands in `forms/README.md`. Length and depth are bounded, so that no text can cost much.

use super::interval::Relation;

/// The longest formula, in bytes.
pub const FORMULA_BYTES_MAX: usize = 4_000;
/// How deep brackets and negations may nest within a formula.
pub const FORMULA_DEPTH_MAX: usize = 24;

/// Where something stands: a byte range in the text of a check, or of a `[let]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    /// 0 for the check itself, n for the n-th `[let]`.
    pub(super) source: usize,
    /// First byte.
    pub(super) start: usize,
    /// First byte behind it.
    pub(super) end: usize,
}

/// What is wrong with the text: where, what stands there, what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SyntaxFault {
    pub(super) at: Span,
    pub(super) found: String,
    pub(super) expected: &'static str,
}

/// One line of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CheckNode {
    pub(super) scope: Vec<RefNode>,
    /// The rows found in any of the scope's tables, instead of the rows of each.
    pub(super) any_of: bool,
    pub(super) when: Option<Node>,
    pub(super) claim: Node,
}

/// A part of a formula and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) at: Span,
    pub(super) is: Is,
}

/// What a part of a formula is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Is {
    Or(Vec<Node>),
    And(Vec<Node>),
    Iff(Box<[Node; 2]>),
    Not(Box<Node>),
    /// `a = b = c`: each is compared with the first.
    Chain(Box<Node>, Vec<(Compare, Node)>),
    Exists(RefNode),
    Unique(FigureNode),
    Ascending(FigureNode),
    CountedIn(Box<Node>, Unit),
    Present(Box<Node>),
    Blank(Box<Node>),
    /// A table or some of its rows, in front of `present` or `blank`.
    Table(RefNode),
    Has(Box<[Node; 2]>),
    MentionsUnit(Box<Node>, Unit),
    Mentions(Box<[Node; 2]>),
    In(Box<Node>, Vec<Node>),
    /// Addends, each with whether it is taken off.
    Add(Vec<(bool, Node)>),
    /// The first, then factors, each with whether it divides.
    Multiply(Box<Node>, Vec<(bool, Node)>),
    As(Box<Node>, Unit),
    Negative(Box<Node>),
    Number(i64, u8, NumberUnit),
    Text(String),
    Sum(Box<Node>),
    Count(RefNode),
    Figure(FigureNode),
}

/// How two sides are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compare {
    Number(Relation),
    /// One text begins the other.
    Begins,
}

/// What a text can be read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Yuan,
    YuanPerHead,
    Heads,
    Time,
}

/// What stands behind a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NumberUnit {
    None,
    Percent,
    Yuan,
    Wan,
}

/// Which filing a table is looked for in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BookWord {
    This,
    Last,
    Units,
}

/// A table, or some of its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RefNode {
    pub(super) at: Span,
    pub(super) book: BookWord,
    pub(super) table: String,
    pub(super) select: Vec<Select>,
}

/// What chooses rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Select {
    Parents(Span),
    Leaves(Span),
    /// A row or a level by its name.
    Name(String, Span),
    In {
        not: bool,
        table: RefNode,
    },
    Test(Node),
}

/// A figure: a column, of the row at hand or of another table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FigureNode {
    pub(super) at: Span,
    pub(super) of: Of,
    /// `None` is `*`.
    pub(super) column: Option<String>,
}

/// Whose column it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Here,
    Table(RefNode),
    Children,
    Leaves,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    Name(String),
    Quoted(String),
    Number(i64, u8),
    Sign(&'static str),
    End,
}

const SIGNS: [(&str, &str); 29] = [
    ("!=", "≠"),
    ("<=", "≤"),
    (">=", "≥"),
    ("≠", "≠"),
    ("≤", "≤"),
    ("≥", "≥"),
    ("=", "="),
    ("<", "<"),
    (">", ">"),
    ("~", "~"),
    ("+", "+"),
    ("-", "-"),
    ("−", "-"),
    ("*", "*"),
    ("×", "*"),
    ("/", "/"),
    ("÷", "/"),
    ("(", "("),
    (")", ")"),
    ("（", "("),
    ("）", ")"),
    ("[", "["),
    ("]", "]"),
    (",", ","),
    ("，", ","),
    (".", "."),
    (":", ":"),
    ("：", ":"),
    ("%", "%"),
];

/// Words that can't be names.
const KEYWORDS: [&str; 21] = [
    "when",
    "iff",
    "or",
    "and",
    "not",
    "exists",
    "unique",
    "ascending",
    "is",
    "present",
    "blank",
    "has",
    "mentions",
    "in",
    "as",
    "sum",
    "count",
    "parents",
    "leaves",
    "children",
    "units",
];

fn words(text: &str, source: usize) -> Result<Vec<(Word, Span)>, SyntaxFault> {
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(next) = text.get(at..).and_then(|rest| rest.chars().next()) {
        let rest = &text[at..];
        if next.is_whitespace() {
            at += next.len_utf8();
            continue;
        }
        let span = |length: usize| Span { source, start: at, end: at + length };
        let (word, length) = if next == '"' {
            let Some(length) = rest[1..].find('"') else {
                return Err(SyntaxFault { at: span(rest.len()), found: rest.to_owned(), expected: "\"…\"" });
            };
            (Word::Quoted(rest[1..=length].to_owned()), length + 2)
        } else if next.is_ascii_digit() {
            number(rest).ok_or(SyntaxFault { at: span(1), found: rest.chars().take(20).collect(), expected: "1.75" })?
        } else if let Some((sign, means)) = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign)) {
            (Word::Sign(means), sign.len())
        } else if is_name(next) {
            let length = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
            (Word::Name(rest[..length].to_owned()), length)
        } else {
            let fault = SyntaxFault { at: span(next.len_utf8()), found: next.to_string(), expected: "…" };
            return Err(fault);
        };
        words.push((word, span(length)));
        at += length;
    }
    let at = text.len();
    words.push((Word::End, Span { source, start: at, end: at }));
    Ok(words)
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn number(rest: &str) -> Option<(Word, usize)> {
    let whole = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let fraction = rest[whole..]
        .strip_prefix('.')
        .map_or(0, |tail| tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len()));
    let length = if fraction == 0 { whole } else { whole + 1 + fraction };
    let digits: String = rest[..length].chars().filter(char::is_ascii_digit).collect();
    if digits.len() > 15 || fraction > 6 {
        return None;
    }
    Some((Word::Number(digits.parse().ok()?, u8::try_from(fraction).ok()?), length))
}

/// Reads one line of a rule.
pub(super) fn parse_check(text: &str) -> Result<CheckNode, SyntaxFault> {
    let mut parser = Parser::new(text, 0)?;
    let mut depth = 0;
    let mut colon = None;
    for (at, (word, _)) in parser.words.iter().enumerate() {
        match word {
            Word::Sign("(" | "[") => depth += 1,
            Word::Sign(")" | "]") => depth -= 1,
            Word::Sign(":") if depth == 0 => {
                colon = Some(at);
                break;
            }
            _ => {}
        }
    }
    let mut check = CheckNode { scope: Vec::new(), any_of: false, when: None, claim: Node::nothing() };
    if colon.is_some() {
        if !parser.is_word("when") {
            check.scope.push(parser.reference()?);
            let mut any_of = None;
            while !parser.is_word("when") && !parser.is_sign(":") {
                let or = parser.is_word("or");
                if !or && !parser.is_sign(",") || any_of.is_some_and(|any_of| any_of != or) {
                    return Err(parser.wrong(", / or / when / :"));
                }
                any_of = Some(or);
                parser.next();
                check.scope.push(parser.reference()?);
            }
            check.any_of = any_of == Some(true);
        }
        if parser.take_word("when") {
            check.when = Some(parser.condition()?);
        }
        parser.sign(":", ":")?;
    }
    check.claim = parser.condition()?;
    parser.end()?;
    Ok(check)
}

/// Reads what a name in `[let]` stands for; `source` is its number, from 1.
pub(super) fn parse_let(text: &str, source: usize) -> Result<Node, SyntaxFault> {
    let mut parser = Parser::new(text, source)?;
    let node = parser.condition()?;
    parser.end()?;
    Ok(node)
}

struct Parser {
    words: Vec<(Word, Span)>,
    at: usize,
    depth: usize,
    source: usize,
}

type Parsed<T> = Result<T, SyntaxFault>;

impl Node {
    fn nothing() -> Node {
        Node { at: Span::default(), is: Is::Or(Vec::new()) }
    }
}

impl Parser {
    fn new(text: &str, source: usize) -> Parsed<Parser> {
        if text.len() > FORMULA_BYTES_MAX {
            let at = Span { source, start: 0, end: 0 };
            return Err(SyntaxFault { at, found: format!("{} bytes", text.len()), expected: "≤ 4000 bytes" });
        }
        Ok(Parser { words: words(text, source)?, at: 0, depth: 0, source })
    }

    fn word(&self) -> &Word {
        self.words.get(self.at).map_or(&Word::End, |(word, _)| word)
    }

    fn ahead(&self, by: usize) -> &Word {
        self.words.get(self.at + by).map_or(&Word::End, |(word, _)| word)
    }

    fn span(&self) -> Span {
        self.words.get(self.at).or(self.words.last()).map_or_else(Span::default, |(_, span)| *span)
    }

    fn next(&mut self) {
        self.at += 1;
    }

    /// From `start` to the end of what was read last.
    fn since(&self, start: Span) -> Span {
        let end = self.at.checked_sub(1).and_then(|at| self.words.get(at)).map_or(start.end, |(_, span)| span.end);
        Span { source: self.source, start: start.start, end: end.max(start.start) }
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.word(), Word::Name(name) if name == word)
    }

    fn is_sign(&self, sign: &str) -> bool {
        matches!(self.word(), Word::Sign(found) if *found == sign)
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.at += usize::from(found);
        found
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let found = self.is_sign(sign);
        self.at += usize::from(found);
        found
    }

    fn sign(&mut self, sign: &str, expected: &'static str) -> Parsed<()> {
        if self.take_sign(sign) { Ok(()) } else { Err(self.wrong(expected)) }
    }

    fn wrong(&self, expected: &'static str) -> SyntaxFault {
        let found = match self.word() {
            Word::Name(name) => name.clone(),
            Word::Quoted(text) => format!("\"{text}\""),
            Word::Number(..) => "1".to_owned(),
            Word::Sign(sign) => (*sign).to_owned(),
            Word::End => "∎".to_owned(),
        };
        SyntaxFault { at: self.span(), found, expected }
    }

    fn end(&self) -> Parsed<()> {
        if matches!(self.word(), Word::End) {
            Ok(())
        } else {
            Err(self.wrong("∎ / + - * / = ≠ < ≤ > ≥ / and / or"))
        }
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Parser) -> Parsed<T>) -> Parsed<T> {
        // The formula itself is the first level.
        if self.depth > FORMULA_DEPTH_MAX {
            return Err(self.wrong("≤ 24 ( ["));
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    // ── names, tables, rows ──────────────────────────────────────────────────────────────

    fn name(&mut self, expected: &'static str) -> Parsed<String> {
        let name = match self.word() {
            Word::Name(name) if !KEYWORDS.contains(&name.as_str()) => name.clone(),
            Word::Quoted(name) => name.clone(),
            Word::Name(_) | Word::Number(..) | Word::Sign(_) | Word::End => return Err(self.wrong(expected)),
        };
        self.next();
        Ok(name)
    }

    fn book(&mut self) -> BookWord {
        let book = match self.word() {
            Word::Name(name) if name == "units" => BookWord::Units,
            Word::Name(name) if name == "last" => BookWord::Last,
            _ => return BookWord::This,
        };
        if *self.ahead(1) != Word::Sign(".") {
            return BookWord::This;
        }
        self.at += 2;
        book
    }

    fn reference(&mut self) -> Parsed<RefNode> {
        let start = self.span();
        let book = self.book();
        let table = self.name("table")?;
        let select = self.selection()?;
        Ok(RefNode { at: self.since(start), book, table, select })
    }

    fn selection(&mut self) -> Parsed<Vec<Select>> {
        let mut select = Vec::new();
        if !self.take_sign("[") {
            return Ok(select);
        }
        self.deeper(|parser| {
            loop {
                select.push(parser.select()?);
                if !parser.take_sign(",") {
                    break;
                }
            }
            parser.sign("]", ", / ]")
        })?;
        Ok(select)
    }

    fn select(&mut self) -> Parsed<Select> {
        let start = self.span();
        let closes = |word: &Word| matches!(word, Word::Sign("," | "]"));
        if closes(self.ahead(1)) {
            let select = match self.word() {
                Word::Name(name) if name == "parents" => Some(Select::Parents(start)),
                Word::Name(name) if name == "leaves" => Some(Select::Leaves(start)),
                Word::Name(name) | Word::Quoted(name) => Some(Select::Name(name.clone(), start)),
                Word::Number(code, 0) => Some(Select::Name(code.to_string(), start)),
                Word::Number(..) | Word::Sign(_) | Word::End => None,
            };
            if let Some(select) = select {
                self.next();
                return Ok(select);
            }
        }
        let not = self.is_word("not") && matches!(self.ahead(1), Word::Name(name) if name == "in");
        self.at += usize::from(not);
        if self.take_word("in") {
            return Ok(Select::In { not, table: self.reference()? });
        }
        Ok(Select::Test(self.condition()?))
    }

    // ── conditions ───────────────────────────────────────────────────────────────────────

    fn condition(&mut self) -> Parsed<Node> {
        self.deeper(|parser| {
            let start = parser.span();
            let left = parser.any()?;
            if !parser.take_word("iff") {
                return Ok(left);
            }
            let right = parser.any()?;
            Ok(Node { at: parser.since(start), is: Is::Iff(Box::new([left, right])) })
        })
    }

    fn any(&mut self) -> Parsed<Node> {
        self.series("or", |parser| parser.series("and", Parser::test, Is::And), Is::Or)
    }

    fn series(
        &mut self,
        word: &str,
        read: impl Fn(&mut Parser) -> Parsed<Node>,
        make: impl Fn(Vec<Node>) -> Is,
    ) -> Parsed<Node> {
        let start = self.span();
        let first = read(self)?;
        if !self.is_word(word) {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.take_word(word) {
            parts.push(read(self)?);
        }
        Ok(Node { at: self.since(start), is: make(parts) })
    }

    fn test(&mut self) -> Parsed<Node> {
        let start = self.span();
        if self.take_word("not") {
            let inner = self.deeper(Parser::test)?;
            return Ok(Node { at: self.since(start), is: Is::Not(Box::new(inner)) });
        }
        if self.take_word("exists") {
            let is = Is::Exists(self.reference()?);
            return Ok(Node { at: self.since(start), is });
        }
        for (word, make) in [("unique", Is::Unique as fn(FigureNode) -> Is), ("ascending", Is::Ascending)] {
            if self.take_word(word) {
                let Node { is: Is::Figure(figure), .. } = self.name_or_figure()? else {
                    return Err(self.wrong("table.column"));
                };
                return Ok(Node { at: self.since(start), is: make(figure) });
            }
        }
        let left = self.expression()?;
        self.tail(start, left)
    }

    fn tail(&mut self, start: Span, left: Node) -> Parsed<Node> {
        let mut chain = Vec::new();
        while let Some(compare) = self.compare() {
            chain.push((compare, self.expression()?));
        }
        let is = if !chain.is_empty() {
            Is::Chain(Box::new(left), chain)
        } else if self.take_word("is") {
            Is::CountedIn(Box::new(left), self.unit()?)
        } else if self.take_word("present") {
            Is::Present(Box::new(left))
        } else if self.take_word("blank") {
            Is::Blank(Box::new(left))
        } else if self.take_word("has") {
            Is::Has(Box::new([left, self.expression()?]))
        } else if self.take_word("mentions") {
            if self.is_unit() {
                Is::MentionsUnit(Box::new(left), self.unit()?)
            } else {
                Is::Mentions(Box::new([left, self.expression()?]))
            }
        } else if self.take_word("in") {
            self.sign("(", "(")?;
            let mut among = vec![self.expression()?];
            while self.take_sign(",") {
                among.push(self.expression()?);
            }
            self.sign(")", ", / )")?;
            Is::In(Box::new(left), among)
        } else if let Is::Table(_) = left.is {
            return Err(self.wrong(". / present / blank"));
        } else {
            return Ok(left);
        };
        Ok(Node { at: self.since(start), is })
    }

    fn compare(&mut self) -> Option<Compare> {
        let Word::Sign(sign) = self.word() else { return None };
        let compare = match *sign {
            "=" => Compare::Number(Relation::Equal),
            "≠" => Compare::Number(Relation::Different),
            "<" => Compare::Number(Relation::Below),
            "≤" => Compare::Number(Relation::AtMost),
            ">" => Compare::Number(Relation::Above),
            "≥" => Compare::Number(Relation::AtLeast),
            "~" => Compare::Begins,
            _ => return None,
        };
        self.next();
        Some(compare)
    }

    fn is_unit(&self) -> bool {
        matches!(self.word(), Word::Name(name) if matches!(name.as_str(), "元" | "人" | "time"))
    }

    fn unit(&mut self) -> Parsed<Unit> {
        let unit = match self.word() {
            Word::Name(name) if name == "元" => Unit::Yuan,
            Word::Name(name) if name == "人" => Unit::Heads,
            Word::Name(name) if name == "time" => Unit::Time,
            _ => return Err(self.wrong("元 / 元/人 / 人 / time")),
        };
        self.next();
        let per_head = self.is_sign("/") && matches!(self.ahead(1), Word::Name(name) if name == "人");
        if unit == Unit::Yuan && per_head {
            self.at += 2;
            return Ok(Unit::YuanPerHead);
        }
        Ok(unit)
    }

    // ── expressions ──────────────────────────────────────────────────────────────────────

    fn expression(&mut self) -> Parsed<Node> {
        let start = self.span();
        let first = self.term()?;
        if !self.is_sign("+") && !self.is_sign("-") {
            return Ok(first);
        }
        let mut addends = vec![(false, first)];
        while self.is_sign("+") || self.is_sign("-") {
            let minus = self.is_sign("-");
            self.next();
            addends.push((minus, self.term()?));
        }
        Ok(Node { at: self.since(start), is: Is::Add(addends) })
    }

    fn term(&mut self) -> Parsed<Node> {
        let start = self.span();
        let mut node = self.atom()?;
        if self.is_sign("*") || self.is_sign("/") {
            let mut factors = Vec::new();
            while self.is_sign("*") || self.is_sign("/") {
                let divides = self.is_sign("/");
                self.next();
                factors.push((divides, self.atom()?));
            }
            node = Node { at: self.since(start), is: Is::Multiply(Box::new(node), factors) };
        }
        if self.take_word("as") {
            let unit = self.unit()?;
            node = Node { at: self.since(start), is: Is::As(Box::new(node), unit) };
        }
        Ok(node)
    }

    fn atom(&mut self) -> Parsed<Node> {
        let start = self.span();
        let is = match self.word().clone() {
            Word::Number(digits, decimals) => {
                self.next();
                Is::Number(digits, decimals, self.number_unit())
            }
            Word::Quoted(text) if *self.ahead(1) != Word::Sign(".") && *self.ahead(1) != Word::Sign("[") => {
                self.next();
                Is::Text(text)
            }
            Word::Sign("(") => {
                self.next();
                let inner = self.condition()?;
                self.sign(")", ")")?;
                return Ok(inner);
            }
            Word::Sign("-") => {
                self.next();
                Is::Negative(Box::new(self.deeper(Parser::atom)?))
            }
            Word::Sign("*") => {
                self.next();
                Is::Figure(FigureNode { at: self.since(start), of: Of::Here, column: None })
            }
            Word::Name(name) if name == "sum" => {
                self.next();
                self.sign("(", "(")?;
                let inner = self.deeper(Parser::expression)?;
                self.sign(")", ")")?;
                Is::Sum(Box::new(inner))
            }
            Word::Name(name) if name == "count" => {
                self.next();
                self.sign("(", "(")?;
                let rows = self.reference()?;
                self.sign(")", ")")?;
                Is::Count(rows)
            }
            Word::Name(_) | Word::Quoted(_) => return self.name_or_figure(),
            Word::Sign(_) | Word::End => return Err(self.wrong("figure / 1.75 / \"…\" / ( / sum( / count(")),
        };
        Ok(Node { at: self.since(start), is })
    }

    fn number_unit(&mut self) -> NumberUnit {
        let unit = match self.word() {
            Word::Sign("%") => NumberUnit::Percent,
            Word::Name(name) if name == "元" => NumberUnit::Yuan,
            Word::Name(name) if name == "万元" => NumberUnit::Wan,
            _ => return NumberUnit::None,
        };
        self.next();
        unit
    }

    fn name_or_figure(&mut self) -> Parsed<Node> {
        let start = self.span();
        let of = if self.is_word("children") {
            self.next();
            Of::Children
        } else if self.is_word("leaves") {
            self.next();
            Of::Leaves
        } else {
            let table = self.reference()?;
            let plain = table.book == BookWord::This && table.select.is_empty();
            if !self.is_sign(".") {
                let at = self.since(start);
                return Ok(if plain {
                    let figure = FigureNode { at, of: Of::Here, column: Some(table.table) };
                    Node { at, is: Is::Figure(figure) }
                } else {
                    Node { at, is: Is::Table(table) }
                });
            }
            Of::Table(table)
        };
        self.sign(".", ".")?;
        let column = if self.take_sign("*") { None } else { Some(self.name("column")?) };
        let at = self.since(start);
        Ok(Node { at, is: Is::Figure(FigureNode { at, of, column }) })
    }
}
