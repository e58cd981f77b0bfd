package kernel

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
)

// options is a parsed kernel configuration: values by name, names without CONFIG_. Strings keep their
// quotes. An option that is "not set", or is not named, reads as "n".
type options map[string]string

func (o options) get(name string) string {
	if v, ok := o[name]; ok {
		return v
	}
	return "n"
}

var (
	setLine   = regexp.MustCompile(`^CONFIG_([A-Za-z0-9_]+)=(y|m|-?[0-9]+|0x[0-9a-fA-F]+|"(?:[^"\\]|\\.)*")$`)
	unsetLine = regexp.MustCompile(`^# CONFIG_([A-Za-z0-9_]+) is not set$`)
)

// maxConfig bounds a configuration, in bytes. A full one of a distribution has a quarter of a megabyte.
const maxConfig = 1 << 20

// parseConfig reads a .config file or a fragment of one. An option may stand there only once.
func parseConfig(data []byte) (options, error) {
	if len(data) > maxConfig {
		return nil, fmt.Errorf("configuration has %d bytes, want at most %d", len(data), maxConfig)
	}
	o := options{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		name, value := parseLine(lines.Text())
		if name == "" {
			if line := lines.Text(); line != "" && line[0] != '#' {
				return nil, fmt.Errorf("configuration line %d: malformed: %q", n, line)
			}
			continue
		}
		if _, ok := o[name]; ok {
			return nil, fmt.Errorf("configuration line %d: CONFIG_%s stands there twice", n, name)
		}
		o[name] = value
	}
	return o, lines.Err()
}

// parseLine returns the option that a line sets, if it sets one.
func parseLine(line string) (name, value string) {
	if m := setLine.FindStringSubmatch(line); m != nil {
		return m[1], m[2]
	}
	if m := unsetLine.FindStringSubmatch(line); m != nil {
		return m[1], "n"
	}
	return "", ""
}

// checkGranted returns an error that names every option for which a fragment asks and which a
// configuration has otherwise.
func checkGranted(fragment, config []byte) error {
	return compare(fragment, config, func(asked, got options) error {
		var errs []error
		for _, name := range slices.Sorted(maps.Keys(asked)) {
			if g, w := got.get(name), asked[name]; g != w {
				errs = append(errs, fmt.Errorf("CONFIG_%s is %s, a fragment asks for %s (hint: is something it depends on off?)", name, g, w))
			}
		}
		return errors.Join(errs...)
	})
}

// checkSame returns an error that names every option in which a configuration differs from the reviewed
// one.
func checkSame(reviewed, config []byte) error {
	return compare(reviewed, config, func(want, got options) error {
		names := maps.Clone(want)
		maps.Copy(names, got)
		var errs []error
		for _, name := range slices.Sorted(maps.Keys(names)) {
			if g, w := got.get(name), want.get(name); g != w {
				errs = append(errs, fmt.Errorf("CONFIG_%s is %s, %s has %s", name, g, resolved, w))
			}
		}
		return errors.Join(errs...)
	})
}

func compare(want, got []byte, check func(want, got options) error) error {
	w, err := parseConfig(want)
	if err != nil {
		return err
	}
	g, err := parseConfig(got)
	if err != nil {
		return err
	}
	return check(w, g)
}
