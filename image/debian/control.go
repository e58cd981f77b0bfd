package debian

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

const (
	// maxControlLine bounds one line of a control file; the longest in Debian's indices, a list of
	// provided names, is under 300 kB.
	maxControlLine = 4 << 20
	// maxControlParagraph bounds a paragraph; a Release file's list of hashes takes 150 kB.
	maxControlParagraph = 16 << 20
)

// A paragraph maps field names, in lower case since they are case-insensitive (Debian Policy 5.1), to
// values. Continuation lines are joined with newlines, each without its first character.
type paragraph map[string]string

// A controlReader reads paragraphs of Debian control data (deb822(5)).
type controlReader struct {
	lines *bufio.Scanner
	line  int
}

func newControlReader(r io.Reader) *controlReader {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxControlLine)
	return &controlReader{lines: lines}
}

// next returns the next paragraph, or io.EOF.
func (c *controlReader) next() (paragraph, error) {
	b := paragraphBuilder{fields: paragraph{}}
	for c.lines.Scan() {
		c.line++
		line := strings.TrimRight(c.lines.Text(), " \t\r")
		if line == "" {
			if len(b.fields) > 0 || b.name != "" {
				return b.finish(), nil
			}
			continue
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		if err := b.add(line); err != nil {
			return nil, fmt.Errorf("control line %d: %w", c.line, err)
		}
	}
	if err := c.lines.Err(); err != nil {
		return nil, fmt.Errorf("control line %d: %w", c.line+1, err)
	}
	if b.name == "" {
		return nil, io.EOF
	}
	return b.finish(), nil
}

// A paragraphBuilder collects lines. The value of the current field is joined once, when it ends.
type paragraphBuilder struct {
	fields paragraph
	name   string
	value  []string
	size   int
}

func (b *paragraphBuilder) add(line string) error {
	b.size += len(line)
	if b.size > maxControlParagraph {
		return fmt.Errorf("paragraph of more than %d bytes", maxControlParagraph)
	}
	if line[0] == ' ' || line[0] == '\t' {
		if b.name == "" {
			return errors.New("continuation line without a field")
		}
		b.value = append(b.value, line[1:])
		return nil
	}
	name, value, ok := strings.Cut(line, ":")
	if !ok || !validFieldName(name) {
		return fmt.Errorf("want a field, got %.60q", line)
	}
	b.endField()
	b.name = strings.ToLower(name)
	if _, dup := b.fields[b.name]; dup {
		return fmt.Errorf("duplicate field %q", name)
	}
	b.value = append(b.value[:0], strings.TrimSpace(value))
	b.fields[b.name] = ""
	return nil
}

func (b *paragraphBuilder) endField() {
	if b.name != "" {
		b.fields[b.name] = strings.Join(b.value, "\n")
	}
}

func (b *paragraphBuilder) finish() paragraph {
	b.endField()
	return b.fields
}

// validFieldName is the syntax of Debian Policy 5.1: printable ASCII other than space and colon, not
// beginning with '#' or '-'.
func validFieldName(s string) bool {
	if s == "" || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
