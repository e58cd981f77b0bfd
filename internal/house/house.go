// Package house holds the tests of the rules that the whole repository keeps: every package says what it
// is, the layers do not import each other, no host is named that a mirror list belongs to, and the
// commands and tests in the documents exist.
package house
