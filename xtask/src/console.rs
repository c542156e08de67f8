//! What tests read in a console's output: the JSON tables of the monitor.

use serde_json::Value;

/// The JSON lists of objects in `output`, each beginning a line. Other lines that begin with `[` are passed over.
pub fn json_lists(output: &str) -> Vec<Vec<Value>> {
    let mut lists = Vec::new();
    let mut rest = output;
    while let Some(start) = next_list(rest) {
        let mut values = serde_json::Deserializer::from_str(&rest[start..]).into_iter::<Value>();
        match values.next() {
            Some(Ok(Value::Array(list))) if list.iter().all(Value::is_object) => {
                lists.push(list);
                rest = &rest[start + values.byte_offset()..];
            }
            _ => rest = &rest[start + 1..],
        }
    }
    lists
}

fn next_list(text: &str) -> Option<usize> {
    if text.starts_with('[') { Some(0) } else { text.find("\n[").map(|end_of_line| end_of_line + 1) }
}

/// The lists in `output` whose rows have the key `key`.
pub fn tables(output: &str, key: &str) -> Vec<Vec<Value>> {
    let has_key = |list: &Vec<Value>| list.first().is_some_and(|row| row.get(key).is_some());
    json_lists(output).into_iter().filter(has_key).collect()
}

/// The first of them.
pub fn table(output: &str, key: &str) -> Option<Vec<Value>> {
    tables(output, key).into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "[ 0.1] booted\n[12] booted\ndevices\n[{\"name\": \"edu#0\", \"bars\": [{\"address\": 4096}]}]\n\
                          [{\"vector\": 81,\n  \"count\": 3}]\n[]\n";

    #[test]
    fn lists_are_found_among_other_lines() {
        let lists = json_lists(OUTPUT);
        assert_eq!(lists.len(), 3, "{lists:?}");
        assert_eq!(lists[1][0]["count"], 3, "over two lines");
    }

    #[test]
    fn a_table_is_known_by_a_key_of_its_rows() {
        assert_eq!(table(OUTPUT, "vector").expect("it is there")[0]["vector"], 81);
        assert_eq!(table(OUTPUT, "bars").expect("it is there")[0]["name"], "edu#0");
        assert!(table(OUTPUT, "irql").is_none());
    }
}
