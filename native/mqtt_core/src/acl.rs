//! Which client may publish and receive what.

use crate::acl_file::{Access, AclError, Line, lines};
use crate::filter::{covers, overlaps};
use std::collections::HashMap;
use std::sync::Arc;

/// Access rules, from a file in the format of mosquitto's `acl_file`:
///
/// ```text
/// # Clients without a user name.
/// topic read $SYS/#
///
/// user roger
/// topic foo/#
/// topic deny foo/secret
///
/// # Everybody.
/// pattern write sensors/%c/data
/// ```
///
/// The topic is a topic filter. In front of it is `read`, `write`, `readwrite` or `deny`; without one of
/// them both are allowed. In a pattern the levels `%c` and `%u` stand for the client identifier and for the
/// user name, without which the pattern is none of the client's.
///
/// What no line allows is forbidden. As in mosquitto the lines of the client's user decide first, or
/// those before the first user if the client has no user name, and only what they do not name is left
/// to the patterns. Among the ones and among the others, a `deny` decides before all that allow.
///
/// A client chooses its client identifier, and often its user name, which must not make a pattern
/// wider than it is written (CVE-2017-7650). If there is `+` or `#` in one of them no pattern holds. A
/// pattern allows nothing where the name is empty, has a `/`, or begins the topic with `$`.
///
/// mosquitto grants every subscription and asks at each message. Here a subscription is granted if all
/// that it can match may be received, for which its messages need not be asked about.
///
/// ```
/// use mqtt_core::Acl;
///
/// let acl = Acl::parse("user roger\ntopic read foo/#\npattern write sensors/%c/data")?;
/// let rules = acl.client("s1", Some("roger"));
/// assert!(rules.may_subscribe("foo/+") && !rules.may_subscribe("#"));
/// assert!(rules.may_publish("sensors/s1/data") && !rules.may_publish("sensors/s2/data"));
/// # Ok::<(), mqtt_core::AclError>(())
/// ```
#[derive(Debug, Default)]
pub struct Acl {
    anonymous: Arc<List>,
    users: HashMap<Box<str>, Arc<List>>,
    /// The patterns that are the same for all clients.
    common: Arc<List>,
    patterns: Vec<(Access, Box<str>)>,
    nothing: Arc<List>,
}

/// What holds for one client. All that is not a pattern is shared.
#[derive(Clone, Debug)]
pub struct Rules {
    own: Arc<List>,
    common: Arc<List>,
    patterns: Arc<List>,
}

/// Topic filters, with what they allow.
#[derive(Debug, Default)]
struct List {
    denied: Vec<Box<str>>,
    allowed: Vec<(Access, Box<str>)>,
}

impl Acl {
    /// Reads a file.
    pub fn parse(text: &str) -> Result<Self, AclError> {
        let mut anonymous = List::default();
        let mut users: HashMap<&str, List> = HashMap::new();
        let mut user = None;
        let mut common = List::default();
        let mut patterns = Vec::new();
        for line in lines(text) {
            match line? {
                Line::User(name) => user = Some(name),
                Line::Topic(access, filter) => {
                    let list = user.map(|name| users.entry(name).or_default());
                    list.unwrap_or(&mut anonymous).push(access, filter.into());
                }
                Line::Pattern(access, filter) if has_placeholder(filter) => {
                    patterns.push((access, filter.into()));
                }
                Line::Pattern(access, filter) => common.push(access, filter.into()),
            }
        }
        Ok(Self {
            anonymous: Arc::new(anonymous),
            users: users.into_iter().map(|(name, list)| (name.into(), Arc::new(list))).collect(),
            common: Arc::new(common),
            patterns,
            nothing: Arc::default(),
        })
    }

    /// What holds for the client. A user name that the file does not have is nobody's, and not that
    /// of the clients without one.
    #[must_use]
    pub fn client(&self, client_id: &str, user: Option<&str>) -> Rules {
        let own = match user {
            Some(name) => self.users.get(name).unwrap_or(&self.nothing),
            None => &self.anonymous,
        };
        let dangerous = |name: &str| name.contains(['+', '#']);
        let (common, patterns) = if dangerous(client_id) || user.is_some_and(dangerous) {
            (&self.nothing, Arc::clone(&self.nothing))
        } else {
            (&self.common, self.patterns_of(client_id, user))
        };
        Rules { own: Arc::clone(own), common: Arc::clone(common), patterns }
    }

    fn patterns_of(&self, client_id: &str, user: Option<&str>) -> Arc<List> {
        let mut list = List::default();
        for (access, pattern) in &self.patterns {
            if let Some(filter) = fill(pattern, client_id, user, *access == Access::Deny) {
                list.push(*access, filter);
            }
        }
        if list.is_empty() { Arc::clone(&self.nothing) } else { Arc::new(list) }
    }
}

impl Rules {
    /// How many filters may have to be looked at for a topic.
    #[must_use]
    pub fn work(&self) -> usize {
        let lists = [&self.own, &self.common, &self.patterns];
        lists.map(|list| list.denied.len() + list.allowed.len()).iter().sum()
    }

    /// Whether the client may publish a message with this topic name.
    #[must_use]
    pub fn may_publish(&self, topic: &str) -> bool {
        self.allow(Access::Write, topic)
    }

    /// Whether the client may receive a message with this topic name.
    #[must_use]
    pub fn may_receive(&self, topic: &str) -> bool {
        self.allow(Access::Read, topic)
    }

    /// Whether the client may subscribe to the filter: one line allows to read all that it matches, and
    /// nothing that it matches is denied. A shared subscription's filter is judged without its prefix and
    /// share name.
    #[must_use]
    pub fn may_subscribe(&self, filter: &str) -> bool {
        match filter.strip_prefix("$share/").map(|shared| shared.split_once('/')) {
            None => self.allow(Access::Read, filter),
            Some(Some((_, filter))) => !filter.is_empty() && self.allow(Access::Read, filter),
            Some(None) => false,
        }
    }

    /// Of a topic name too, which is a filter that matches itself alone.
    fn allow(&self, wanted: Access, filter: &str) -> bool {
        if self.own.denies(filter) {
            return false;
        }
        let patterns = [&self.common, &self.patterns];
        self.own.allows(wanted, filter)
            || !patterns.iter().any(|list| list.denies(filter))
                && patterns.iter().any(|list| list.allows(wanted, filter))
    }
}

impl List {
    fn push(&mut self, access: Access, filter: Box<str>) {
        match access {
            Access::Deny => self.denied.push(filter),
            _ => self.allowed.push((access, filter)),
        }
    }

    fn is_empty(&self) -> bool {
        self.denied.is_empty() && self.allowed.is_empty()
    }

    fn denies(&self, filter: &str) -> bool {
        self.denied.iter().any(|denied| overlaps(denied, filter))
    }

    fn allows(&self, wanted: Access, filter: &str) -> bool {
        self.allowed.iter().any(|(access, allowed)| {
            (*access == wanted || *access == Access::ReadWrite) && covers(allowed, filter)
        })
    }
}

fn has_placeholder(pattern: &str) -> bool {
    pattern.split('/').any(|level| matches!(level, "%c" | "%u"))
}

/// The pattern with the client's names, unless it does not hold for them. One that denies takes every
/// name, which can only make it narrower.
fn fill(pattern: &str, client_id: &str, user: Option<&str>, denies: bool) -> Option<Box<str>> {
    let mut filter = String::with_capacity(pattern.len() + client_id.len());
    for (index, level) in pattern.split('/').enumerate() {
        if index > 0 {
            filter.push('/');
        }
        let name = match level {
            "%c" => client_id,
            "%u" => user?,
            level => {
                filter.push_str(level);
                continue;
            }
        };
        let first = index == 0;
        if !denies && (name.is_empty() || name.contains('/') || first && name.starts_with('$')) {
            return None;
        }
        filter.push_str(name);
    }
    Some(filter.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::matches;
    use proptest::prelude::*;

    fn rules(text: &str, client_id: &str, user: Option<&str>) -> Rules {
        Acl::parse(text).unwrap().client(client_id, user)
    }

    /// What the client may do with the topic.
    fn access(rules: &Rules, topic: &str) -> &'static str {
        match (rules.may_receive(topic), rules.may_publish(topic)) {
            (true, true) => "readwrite",
            (true, false) => "read",
            (false, true) => "write",
            (false, false) => "",
        }
    }

    #[test]
    fn nothing_is_allowed_but_what_a_line_allows() {
        for text in ["", "# topic a"] {
            let rules = rules(text, "c", None);
            assert_eq!(access(&rules, "a"), "");
            assert!(!rules.may_subscribe("a"));
        }
        let rules = rules("topic a/b\ntopic read r/#\ntopic write w/+", "c", None);
        for (topic, expected) in
            [("a/b", "readwrite"), ("a", ""), ("r", "read"), ("r/a/b", "read"), ("w/a", "write")]
        {
            assert_eq!(access(&rules, topic), expected, "{topic}");
        }
    }

    #[test]
    fn lines_are_for_their_user_and_those_before_for_clients_without_one() {
        let text = "topic anonymous\nuser a\ntopic of/a\ntopic read shared\n\
                    user b\ntopic read of/b\nuser a\ntopic write shared\npattern all";
        let table = [
            (None, ["readwrite", "", "", "", "readwrite"]),
            (Some("a"), ["", "readwrite", "", "readwrite", "readwrite"]),
            (Some("b"), ["", "", "read", "", "readwrite"]),
            (Some("other"), ["", "", "", "", "readwrite"]),
            (Some(""), ["", "", "", "", "readwrite"]),
        ];
        for (user, expected) in table {
            let rules = rules(text, "c", user);
            let found = ["anonymous", "of/a", "of/b", "shared", "all"].map(|t| access(&rules, t));
            assert_eq!(found, expected, "{user:?}");
        }
    }

    #[test]
    fn a_denial_wins_wherever_it_stands() {
        for text in ["topic a/#\ntopic deny a/b", "topic deny a/b\ntopic a/#"] {
            let rules = rules(text, "c", None);
            assert_eq!(
                ["a/a", "a/b", "a/b/c"].map(|t| access(&rules, t)),
                ["readwrite", "", "readwrite"]
            );
        }
        let rules = rules("pattern a/#\npattern deny a/%c\npattern deny a/x", "c", None);
        assert_eq!(["a/a", "a/c", "a/x"].map(|t| access(&rules, t)), ["readwrite", "", ""]);
    }

    #[test]
    fn the_lines_of_the_user_decide_before_the_patterns() {
        let text = "user u\ntopic read a\ntopic deny b\npattern deny a\npattern readwrite b";
        let of_user = rules(text, "c", Some("u"));
        assert_eq!(["a", "b"].map(|t| access(&of_user, t)), ["read", ""]);
        assert!(of_user.may_subscribe("a"));
        let of_other = rules(text, "c", Some("o"));
        assert_eq!(["a", "b"].map(|t| access(&of_other, t)), ["", "readwrite"]);
    }

    #[test]
    fn a_pattern_is_filled_with_the_names() {
        let text = "pattern read c/%c/#\npattern write %u/%c/%u\npattern all";
        let named = rules(text, "%u", Some("u v"));
        let topics = ["c/%u/x", "u v/%u/u v", "c/u v", "all", "c/%c"];
        assert_eq!(topics.map(|t| access(&named, t)), ["read", "write", "", "readwrite", ""]);
        let anonymous = rules(text, "c", None);
        let topics = ["c/c", "c/d", "%u/c/%u", "/c/", "all"];
        assert_eq!(topics.map(|t| access(&anonymous, t)), ["read", "", "", "", "readwrite"]);
        // In a line of a user they mean nothing.
        let topic = rules("topic %c", "c", None);
        assert_eq!(["c", "%c"].map(|t| access(&topic, t)), ["", "readwrite"]);
    }

    #[test]
    fn a_name_does_not_widen_a_pattern_cve_2017_7650() {
        let text = "user a+\ntopic own\npattern p/%c/x\npattern u/%u\npattern %c/#\npattern all";
        let topics = ["own", "p/a/x", "p/#/x", "u/a", "a", "$SYS/a", "$SYS", "all"];
        for (client_id, user) in
            [("#", None), ("+", Some("a")), ("a/#", None), ("c", Some("#")), ("c", Some("a+"))]
        {
            let rules = rules(text, client_id, user);
            let expected = if user == Some("a+") { "readwrite" } else { "" };
            assert_eq!(access(&rules, "own"), expected);
            for topic in &topics[1..] {
                assert_eq!(access(&rules, topic), "", "{client_id} {user:?} {topic}");
            }
        }
        let table = [
            ("a/x", Some("u"), "p/a/x/x", ""),
            ("a/x", Some("u"), "u/u", "readwrite"),
            ("c", Some("u/v"), "u/u/v", ""),
            ("c", Some("u/v"), "c/d", "readwrite"),
            ("$SYS", None, "$SYS/a", ""),
            ("$SYS", None, "p/$SYS/x", "readwrite"),
            ("", None, "p//x", ""),
            ("", None, "/a", ""),
            ("c", Some(""), "u/", ""),
            ("a/x", None, "all", "readwrite"),
        ];
        for (client_id, user, topic, expected) in table {
            let rules = rules(text, client_id, user);
            assert_eq!(access(&rules, topic), expected, "{client_id} {user:?} {topic}");
        }
    }

    #[test]
    fn a_name_does_not_escape_a_denial() {
        let text = "pattern #\npattern deny a/%c/secret\npattern deny u/%u";
        for client_id in ["c", "c/d", "", "$c"] {
            let rules = rules(text, client_id, Some("a/b"));
            assert_eq!(access(&rules, "a/c/d"), "readwrite");
            assert_eq!(access(&rules, &format!("a/{client_id}/secret")), "");
            assert_eq!(access(&rules, "u/a/b"), "");
        }
    }

    #[test]
    fn wildcards_leave_out_the_topics_of_the_server_mqtt_4_7_2_1() {
        let rules = rules("topic #\ntopic +/x\ntopic read $SYS/broker/#", "c", None);
        assert_eq!(["a/b", "$SYS", "$SYS/x"].map(|t| access(&rules, t)), ["readwrite", "", ""]);
        assert_eq!(access(&rules, "$SYS/broker/uptime"), "read");
        assert!(rules.may_subscribe("#") && rules.may_subscribe("$SYS/broker/#"));
        assert!(!rules.may_subscribe("$SYS/#"));
    }

    #[test]
    fn a_subscription_is_granted_if_all_that_it_matches_may_be_read() {
        let text =
            "topic read a/#\ntopic b/+\ntopic write w\ntopic deny a/x/+\npattern read p/%c/#";
        let rules = rules(text, "c", None);
        for filter in ["a", "a/b/#", "a/x", "a/b/+/c", "b/+", "b/c", "p/c/#", "p/c/+/d"] {
            assert!(rules.may_subscribe(filter), "{filter}");
            assert!(rules.may_subscribe(&format!("$share/g/{filter}")), "{filter}");
        }
        for filter in ["#", "a/#", "a/+/#", "a/x/#", "a/+/y", "b/#", "w", "p/+/#", "p/d", "+/c"] {
            assert!(!rules.may_subscribe(filter), "{filter}");
            assert!(!rules.may_subscribe(&format!("$share/g/{filter}")), "{filter}");
        }
        for filter in ["$share", "$share/", "$share/a", "$share/g/", "$share/a/$share/g/a"] {
            assert!(!rules.may_subscribe(filter), "{filter}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_shared() {
        let acl = Acl::parse("topic a\nuser u\ntopic b\npattern c\npattern d/%u").unwrap();
        let [one, two] = ["1", "2"].map(|id| acl.client(id, Some("u")));
        assert!(Arc::ptr_eq(&one.own, &two.own) && Arc::ptr_eq(&one.common, &two.common));
        let [one, two] = ["1", "2"].map(|id| acl.client(id, None));
        assert!(Arc::ptr_eq(&one.own, &two.own) && Arc::ptr_eq(&one.patterns, &two.patterns));
    }

    fn level() -> impl Strategy<Value = &'static str> {
        prop::sample::select(&["", "a", "b", "c", "u", "$s"][..])
    }

    fn filter() -> impl Strategy<Value = String> {
        let level = prop_oneof![4 => level(), 1 => Just("+")];
        (prop::collection::vec(level, 1..4), any::<bool>())
            .prop_map(|(mut levels, open)| {
                levels.extend(open.then_some("#"));
                levels.join("/")
            })
            .prop_filter("empty", |filter| !filter.is_empty())
    }

    fn line() -> impl Strategy<Value = String> {
        let keyword = prop::sample::select(&["topic", "user u\ntopic", "pattern"][..]);
        let access = prop::sample::select(&["read", "write", "readwrite", "deny"][..]);
        (keyword, access, filter()).prop_map(|(keyword, access, filter)| {
            let filter = match keyword {
                "pattern" => filter.replace('c', "%c").replace('u', "%u"),
                _ => filter,
            };
            format!("{keyword} {access} {filter}")
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn what_a_subscription_brings_may_be_received(
            lines in prop::collection::vec(line(), 0..8),
            user in prop::option::of(prop::sample::select(&["u", "v"][..])),
            filter in filter(),
            topics in prop::collection::vec(prop::collection::vec(level(), 1..5), 20),
        ) {
            let rules = rules(&lines.join("\n"), "c", user);
            if rules.may_subscribe(&filter) {
                for topic in topics.iter().map(|levels| levels.join("/")) {
                    prop_assert!(!matches(&filter, &topic) || rules.may_receive(&topic), "{}", topic);
                }
            }
        }
    }
}
