package keyfiles

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A document is a flat YAML mapping of text to text.
type document map[string][]byte

// bls refuses a key of another curve.
func (d document) bls() error {
	if kind := string(d["keyType"]); kind != "" && kind != "BLS" {
		return fmt.Errorf("keyType: got %.16q, want BLS", kind)
	}
	return nil
}

// only refuses fields that are not named.
func (d document) only(names ...string) error {
	for name := range d {
		if !slices.Contains(names, name) {
			return fmt.Errorf("field %.32q is not known", name)
		}
	}
	return nil
}

// parseYAML reads the documents of a file as Web3Signer's users write it: lines of
// "name: value", documents between lines of "---", comments, and quotes without
// escapes. Whatever else YAML has is an error, not a guess. Errors quote no value,
// since one may be a key; the values share data's memory.
func parseYAML(data []byte) ([]document, error) {
	var documents []document
	current := document{}
	finish := func() {
		if len(current) > 0 {
			documents = append(documents, current)
		}
		current = document{}
	}
	n := 0
	for line := range bytes.Lines(data) {
		n++
		line = bytes.TrimRight(line, " \t\r\n")
		switch {
		case len(line) == 0 || line[0] == '#':
			continue
		case string(line) == "---" || string(line) == "...":
			finish()
			continue
		}
		name, value, err := parseLine(line)
		if err == nil {
			if _, twice := current[name]; twice {
				err = fmt.Errorf("%s comes twice", name)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		current[name] = value
	}
	finish()
	if len(documents) == 0 {
		return nil, errors.New("describes no key")
	}
	if len(documents) > maxKeys {
		return nil, fmt.Errorf("describes more than %d keys", maxKeys)
	}
	return documents, nil
}

func parseLine(line []byte) (name string, value []byte, err error) {
	before, after, found := bytes.Cut(line, []byte(":"))
	quoted := string(bytes.Trim(before, `"'`))
	if !found || quoted == "" || strings.Trim(quoted, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		return "", nil, errors.New("want name: value")
	}
	if len(after) > 0 && after[0] != ' ' && after[0] != '\t' {
		return "", nil, errors.New("want a space after the colon")
	}
	value, err = parseValue(bytes.Trim(after, " \t"))
	return quoted, value, err
}

func parseValue(text []byte) ([]byte, error) {
	if len(text) == 0 {
		return nil, errors.New("want a value on the line")
	}
	switch text[0] {
	case '"', '\'':
		value, rest, closed := bytes.Cut(text[1:], text[:1])
		rest = bytes.TrimLeft(rest, " \t")
		if !closed || bytes.ContainsRune(value, '\\') || len(rest) > 0 && rest[0] != '#' {
			return nil, errors.New("want a plain quoted value")
		}
		return value, nil
	case '|', '>', '{', '[', '&', '*', '!', '%', '@', '`', '#':
		return nil, errors.New("want a plain value")
	}
	value, _, _ := bytes.Cut(text, []byte(" #"))
	return bytes.TrimRight(value, " \t"), nil
}
