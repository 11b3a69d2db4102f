// SPDX-License-Identifier: GPL-2.0

//! Lines of a report.

use kernel::fmt;

/// A line of a report: pairs of a name and a value, separated by spaces.
///
/// The methods are not generic, and none is inlined: a `write!` for each line would take several
/// times the code.
pub struct Pairs<'a, 'f> {
    f: &'a mut fmt::Formatter<'f>,
    separator: &'static str,
    result: fmt::Result,
}

impl<'a, 'f> Pairs<'a, 'f> {
    /// Begins a line.
    pub fn new(f: &'a mut fmt::Formatter<'f>) -> Self {
        Self {
            f,
            separator: "",
            result: Ok(()),
        }
    }

    /// Writes a name, and a space after it.
    fn name(&mut self, name: &str) -> fmt::Result {
        self.f.write_str(self.separator)?;
        self.separator = " ";
        self.f.write_str(name)?;
        self.f.write_str(" ")
    }

    /// Adds a pair whose value is a number.
    #[inline(never)]
    pub fn number(&mut self, name: &str, value: u64) -> &mut Self {
        self.result = self
            .result
            .and_then(|()| self.name(name))
            .and_then(|()| write!(self.f, "{value}"));
        self
    }

    /// Adds a pair whose value is a word.
    #[inline(never)]
    pub fn word(&mut self, name: &str, value: &str) -> &mut Self {
        self.result = self
            .result
            .and_then(|()| self.name(name))
            .and_then(|()| self.f.write_str(value));
        self
    }

    /// Adds a pair whose value is bytes, in hexadecimal.
    #[inline(never)]
    pub fn bytes(&mut self, name: &str, value: &[u8]) -> &mut Self {
        self.word(name, "");
        for byte in value {
            self.result = self.result.and_then(|()| write!(self.f, "{byte:02x}"));
        }
        self
    }

    /// Ends the line. Fails if anything could not be written.
    pub fn end(&mut self) -> fmt::Result {
        self.stop().and_then(|()| self.f.write_str("\n"))
    }

    /// Ends the pairs, for a line that somebody else ends. Fails if anything could not be written.
    pub fn stop(&mut self) -> fmt::Result {
        self.result
    }
}
