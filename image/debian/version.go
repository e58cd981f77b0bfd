package debian

import (
	"cmp"
	"regexp"
	"strings"
)

// versionPattern is the syntax of Debian Policy 5.6.12, [epoch:]upstream_version[-debian_revision].
var versionPattern = regexp.MustCompile(`^([0-9]{1,9}:)?[0-9][A-Za-z0-9.+:~-]*$`)

func validVersion(v string) bool { return len(v) <= 256 && versionPattern.MatchString(v) }

// CompareVersions orders Debian versions as Debian Policy 5.6.12 does: negative when a is earlier than
// b, zero when they are equal, positive when a is later.
func CompareVersions(a, b string) int {
	aEpoch, aUpstream, aRevision := splitVersion(a)
	bEpoch, bUpstream, bRevision := splitVersion(b)
	return cmp.Or(
		compareNumbers(aEpoch, bEpoch),
		comparePart(aUpstream, bUpstream),
		comparePart(aRevision, bRevision))
}

// splitVersion cuts at the first colon and the last hyphen. An absent epoch and an absent revision
// both compare as zero, which the empty string does as well.
func splitVersion(v string) (epoch, upstream, revision string) {
	if i := strings.IndexByte(v, ':'); i >= 0 {
		epoch, v = v[:i], v[i+1:]
	}
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		v, revision = v[:i], v[i+1:]
	}
	return epoch, v, revision
}

// comparePart compares the alternating runs of non-digits and digits of two version parts.
func comparePart(a, b string) int {
	for a != "" || b != "" {
		aText, aRest := cutRun(a, false)
		bText, bRest := cutRun(b, false)
		if c := compareText(aText, bText); c != 0 {
			return c
		}
		aNumber, aRest := cutRun(aRest, true)
		bNumber, bRest := cutRun(bRest, true)
		if c := compareNumbers(aNumber, bNumber); c != 0 {
			return c
		}
		a, b = aRest, bRest
	}
	return 0
}

// cutRun splits off the leading digits, or the leading non-digits.
func cutRun(s string, digits bool) (run, rest string) {
	i := 0
	for i < len(s) && isDigit(s[i]) == digits {
		i++
	}
	return s[:i], s[i:]
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func compareNumbers(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}

func compareText(a, b string) int {
	for i := 0; i < len(a) || i < len(b); i++ {
		if c := cmp.Compare(weight(a, i), weight(b, i)); c != 0 {
			return c
		}
	}
	return 0
}

// weight is the place of a character in the order of the policy: the tilde before the end of the
// part, the end before letters, letters before everything else.
func weight(s string, i int) int {
	if i >= len(s) {
		return 0
	}
	c := s[i]
	switch {
	case c == '~':
		return -1
	case 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z':
		return int(c)
	}
	return int(c) + 256
}
