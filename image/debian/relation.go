package debian

import (
	"fmt"
	"regexp"
	"strings"
)

// A relation is one alternative of a dependency: a package, perhaps with a condition on its version
// (Debian Policy 7.1).
type relation struct {
	name    string
	op      string // "<<", "<=", "=", ">=", ">>", or "" for any version
	version string
}

// A dependency is satisfied by any one of its alternatives.
type dependency []relation

// relationPattern is "name[:arch] [(op version)]". Indices of binary packages carry no architecture
// lists or build profiles.
var relationPattern = regexp.MustCompile(`^([a-z0-9][a-z0-9+.-]+)(:[a-z0-9-]+)?(?:\s*\(\s*(<<|<=|=|>=|>>)\s*([^\s()]+)\s*\))?$`)

func parseDependencies(field string) ([]dependency, error) {
	var out []dependency
	for group := range strings.SplitSeq(field, ",") {
		if strings.TrimSpace(group) == "" {
			continue // an empty field, or a comma at the end
		}
		var d dependency
		for alternative := range strings.SplitSeq(group, "|") {
			r, err := parseRelation(strings.TrimSpace(alternative))
			if err != nil {
				return nil, err
			}
			d = append(d, r)
		}
		out = append(out, d)
	}
	return out, nil
}

func parseRelation(s string) (relation, error) {
	m := relationPattern.FindStringSubmatch(s)
	if m == nil || (m[4] != "" && !validVersion(m[4])) {
		return relation{}, fmt.Errorf("malformed relation %q", s)
	}
	return relation{name: m[1], op: m[3], version: m[4]}, nil
}

// allows says whether a version meets the relation's condition.
func (r relation) allows(version string) bool {
	if r.op == "" {
		return true
	}
	c := CompareVersions(version, r.version)
	switch r.op {
	case "<<":
		return c < 0
	case "<=":
		return c <= 0
	case "=":
		return c == 0
	case ">=":
		return c >= 0
	}
	return c > 0
}

func (r relation) String() string {
	if r.op == "" {
		return r.name
	}
	return fmt.Sprintf("%s (%s %s)", r.name, r.op, r.version)
}

func (d dependency) String() string {
	names := make([]string, len(d))
	for i, r := range d {
		names[i] = r.String()
	}
	return strings.Join(names, " | ")
}
