//! The headers of a record, in two pieces of memory that the next record can use again.

/// Headers in order. A name may be repeated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    names: String,
    values: Vec<u8>,
    /// Where each name and each value end.
    ends: Vec<(usize, usize)>,
}

impl Headers {
    /// Adds a header behind the others.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        self.names.push_str(name);
        self.values.extend_from_slice(value);
        self.ends.push((self.names.len(), self.values.len()));
    }

    /// Removes all of them and keeps their memory.
    pub fn clear(&mut self) {
        self.names.clear();
        self.values.clear();
        self.ends.clear();
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Each name with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let mut start = (0, 0);
        self.ends.iter().map(move |&end| {
            let (name, value) = std::mem::replace(&mut start, end);
            (&self.names[name..end.0], &self.values[value..end.1])
        })
    }
}

impl<'a> FromIterator<(&'a str, &'a [u8])> for Headers {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a [u8])>>(headers: I) -> Self {
        let mut gathered = Self::default();
        headers.into_iter().for_each(|(name, value)| gathered.push(name, value));
        gathered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_given_back_in_order_also_repeated_and_empty_ones_and_none_after_a_clear() {
        let given: [(&str, &[u8]); 4] = [("a", b"1"), ("é", &[0, 255]), ("a", b""), ("", b"2")];
        let mut headers: Headers = given.into_iter().collect();
        assert_eq!(headers.iter().collect::<Vec<_>>(), given);
        assert_eq!(headers.len(), given.len());
        headers.clear();
        assert!(headers.is_empty() && headers.iter().next().is_none());
        headers.push("b", b"3");
        assert_eq!(headers.iter().collect::<Vec<_>>(), [("b", &b"3"[..])]);
    }
}
