//! What a template accepts, where it points when it does not, and that no name can change a filter.

use proptest::prelude::*;

use super::*;

fn user(octets: &[u8]) -> UserName {
    UserName::new(octets).unwrap()
}

#[test]
fn placeholders_take_the_name_and_its_parts() {
    let cases: [(&str, &[u8], &str); 9] = [
        ("(uid={user})", b"bob", "(uid=bob)"),
        ("(uid={local})", b"bob@x.net", "(uid=bob)"),
        ("(&(uid={local})(o={domain}))", b"bob@x.net", "(&(uid=bob)(o=x.net))"),
        ("(&(uid={local})(o={domain}))", b"bob", "(&(uid=bob)(o=))"),
        ("(|(uid={user})(mail={user}))", b"b", "(|(uid=b)(mail=b))"),
        ("(mail={user}@*)", b"b", "(mail=b@*)"),
        ("(mail=*@{domain})", b"b", "(mail=*@)"),
        ("(!(cn:caseExactMatch:={user}))", b"b", "(!(cn:caseExactMatch:=b))"),
        ("(cn=\\7b{user}\\7D)", b"b", "(cn=\\7bb\\7D)"),
    ];
    for (template, name, filter) in cases {
        let template = FilterTemplate::parse(template).unwrap();
        assert_eq!(template.render(&user(name)), filter);
    }
}

#[test]
fn dangerous_octets_are_escaped() {
    let cases: [(&[u8], &str); 6] = [
        (b"*", "(uid=\\2a)"),
        (b")(uid=*", "(uid=\\29\\28uid=\\2a)"),
        (b"a\\2a", "(uid=a\\5c2a)"),
        (b"j\xfcrgen", "(uid=j\\fcrgen)"),
        ("j\u{fc}rgen".as_bytes(), "(uid=j\\c3\\bcrgen)"),
        (b"\x01\x7f {user}", "(uid=\\01\\7f {user})"),
    ];
    let template = FilterTemplate::parse("(uid={user})").unwrap();
    for (name, filter) in cases {
        assert_eq!(template.render(&user(name)), filter);
    }
}

#[test]
fn errors_point_at_the_trouble_and_say_the_remedy() {
    use TemplateProblem as P;
    let cases: [(&str, usize, P, &str); 20] = [
        ("(uid={name})", 5, P::UnknownPlaceholder("name".into()), "{user}, {local} or {domain}"),
        ("(uid={})", 5, P::UnknownPlaceholder(String::new()), "\\7b"),
        ("(uid={user)", 5, P::UnclosedBrace, "never closed"),
        ("(uid={{user}})", 5, P::UnclosedBrace, "never closed"),
        ("(uid=user})", 9, P::UnopenedBrace, "\\7d"),
        ("(uid=bob)", 0, P::NoPlaceholder, "(uid={user})"),
        ("", 0, P::NoPlaceholder, "(uid={user})"),
        ("(&(uid={user})", 0, P::UnclosedParenthesis, "add a )"),
        ("(&(a=b)(uid={user}", 7, P::UnclosedParenthesis, "add a )"),
        ("(uid={user}))", 12, P::UnopenedParenthesis, "remove it"),
        ("uid={user}", 0, P::NotAFilter("a filter begins with (, e.g. (uid={user})"), "begins with ("),
        ("(& (uid={user}))", 2, P::NotAFilter("remove this space"), "space"),
        ("({user}=x)", 1, P::PlaceholderOutsideValue, "behind the ="),
        ("(mail=*{domain})", 7, P::EmptyBesideAsterisk, "*@{domain}"),
        ("(mail={local}*)", 6, P::EmptyBesideAsterisk, "bare *"),
        ("(mail=*{local}{domain}*x)", 7, P::EmptyBesideAsterisk, "bare *"),
        ("(uid={user}\\2)", 11, P::BadEscape, "\\5c"),
        ("(uid={user}\n)", 11, P::ControlCharacter, "hexadecimal"),
        ("(uid={user})(a=b)", 12, P::NotAFilter("one filter only: put (&…) or (|…) around several"), "one filter"),
        ("(uid={user}**)", 0, P::NotAFilter("check attribute names, operators and asterisks"), "asterisks"),
    ];
    for (template, offset, problem, remedy) in cases {
        let error = FilterTemplate::parse(template).unwrap_err();
        assert_eq!(error, TemplateError { offset, problem }, "{template}");
        assert!(error.to_string().contains(remedy), "{error}");
    }
}

#[test]
fn nesting_is_bounded() {
    let nested = |levels: usize| format!("{}(a={{user}}){}", "(!".repeat(levels), ")".repeat(levels));
    assert!(FilterTemplate::parse(&nested(check::MAX_DEPTH - 1)).is_ok());
    let error = FilterTemplate::parse(&nested(check::MAX_DEPTH)).unwrap_err();
    assert_eq!(error, TemplateError { offset: 2 * check::MAX_DEPTH, problem: TemplateProblem::TooDeep });
}

#[test]
fn the_text_is_given_back_for_messages() {
    assert_eq!(FilterTemplate::parse("(uid={user})").unwrap().as_str(), "(uid={user})");
}

/// RFC 4515 §3 backwards, for what stands between two known texts.
fn unescape(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'\\' {
            let digits = std::str::from_utf8(&tail[..2]).unwrap();
            octets.push(u8::from_str_radix(digits, 16).unwrap());
            rest = &tail[2..];
        } else {
            octets.push(*first);
            rest = tail;
        }
    }
    octets
}

fn any_user() -> impl Strategy<Value = UserName> {
    let octet = prop_oneof![any::<u8>(), proptest::sample::select(b"*()\\@{}&|!=".as_slice())];
    proptest::collection::vec(octet, 1..=UserName::MAX_LEN)
        .prop_filter_map("not a user name", |octets| UserName::new(&octets))
}

proptest! {
    #[test]
    fn whatever_the_name_the_filters_syntax_is_the_templates_own(user in any_user()) {
        let template = FilterTemplate::parse("(&(objectClass=*)(|(uid={user})(mail=<{local}>*<{domain}>)))").unwrap();
        let filter = template.render(&user);
        prop_assert!(filter.is_ascii());
        let syntax: String = filter.chars().filter(|c| "()*".contains(*c)).collect();
        prop_assert_eq!(syntax, "((*)(()(*)))");
        prop_assert!(ldap3::parse_filter(&filter).is_ok());
    }

    #[test]
    fn unescaping_gives_the_names_octets_back(user in any_user()) {
        let filter = FilterTemplate::parse("(uid={user})").unwrap().render(&user);
        let value = filter.strip_prefix("(uid=").and_then(|rest| rest.strip_suffix(')')).unwrap();
        prop_assert_eq!(unescape(value), user.as_bytes());
    }
}
