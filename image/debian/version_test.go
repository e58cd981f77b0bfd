package debian_test

import (
	"testing"

	"holdfast/image/debian"
)

func TestVersionsAreOrderedAsThePolicySays(t *testing.T) {
	// Debian Policy 5.6.12 gives the first rows; the others are its rules one by one.
	for _, row := range []struct{ earlier, later string }{
		{"~~", "~~a"}, {"~~a", "~"}, {"~", ""}, {"", "a"},
		{"1.0~beta1~svn1245", "1.0~beta1"}, {"1.0~beta1", "1.0"},
		{"1.0~rc1-1", "1.0-1"},
		{"0.9", "1:0.1"}, {"2:1", "10:1"},
		{"1.2", "1.10"}, {"1.a", "1.b"}, {"1.0a", "1.0+"}, {"1.0", "1.0a"}, {"1.0", "1.0+"}, {"1.0-1", "1.0.1-1"},
		{"1.0", "1.0-1"}, {"1.0-1", "1.0-1+b1"}, {"1.0-1~bpo12+1", "1.0-1"}, {"1.0-9", "1.0-10"},
		{"1.0-1", "1.0-1.1"}, {"1-2-3", "1-2-10"}, {"1-2-3", "1-3-1"},
		{"6.12.107-1~deb12u1", "6.12.117-1~deb12u1"}, {"7.2+dfsg-7+deb12u15", "7.2+dfsg-7+deb12u18+b3"},
		{"1:10.0.2+ds-2+deb13u1~bpo12+1", "1:10.0.2+ds-2+deb13u1"},
		{"1.4294967295", "1.4294967296"}, {"1.99999999999999999999", "1.100000000000000000000"},
	} {
		if c := debian.CompareVersions(row.earlier, row.later); c >= 0 {
			t.Errorf("CompareVersions(%q, %q) = %d, want negative", row.earlier, row.later, c)
		}
		if c := debian.CompareVersions(row.later, row.earlier); c <= 0 {
			t.Errorf("CompareVersions(%q, %q) = %d, want positive", row.later, row.earlier, c)
		}
	}
}

func TestVersionsThatTheRulesMakeEqual(t *testing.T) {
	for _, row := range [][2]string{
		{"1.0", "1.0"}, {"0:1.0", "1.0"}, {"1.0-0", "1.0"}, {"1.01", "1.1"}, {"1.0-1", "1.00-01"}, {"00:1", "1"}, {"1.a0", "1.a"},
	} {
		if c := debian.CompareVersions(row[0], row[1]); c != 0 {
			t.Errorf("CompareVersions(%q, %q) = %d, want 0", row[0], row[1], c)
		}
	}
}

func FuzzVersionsHaveOneOrder(f *testing.F) {
	f.Add("1:1.0-1", "1.0~rc1", "1.0+b1")
	f.Add("1.0-1", "1.0-1~bpo12+1", "1.0.1")
	f.Add("", "~", "0")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		ab, ba := debian.CompareVersions(a, b), debian.CompareVersions(b, a)
		if ab != -ba {
			t.Errorf("%q and %q compare as %d one way and %d the other", a, b, ab, ba)
		}
		if ab <= 0 && debian.CompareVersions(b, c) <= 0 && debian.CompareVersions(a, c) > 0 {
			t.Errorf("%q <= %q <= %q, but the first is later than the last", a, b, c)
		}
	})
}
