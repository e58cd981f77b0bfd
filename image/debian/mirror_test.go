package debian_test

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"holdfast/image/debian"
)

func TestMirrorsAreFoundInAptSources(t *testing.T) {
	const main, security = "debian http://a.test/debian", "debian-security http://a.test/debian-security"
	for name, row := range map[string]struct {
		file, text string
		want       []string
	}{
		"one line": {"sources.list", "deb http://a.test/debian bookworm main contrib\n", []string{main, security}},
		"one line with options": {"sources.list.d/x.list",
			"deb [arch=amd64 signed-by=/usr/share/keyrings/x.gpg] http://a.test/debian/ bookworm main # comment\n", []string{main, security}},
		"source packages":  {"sources.list", "deb-src http://a.test/debian trixie main\n", []string{main, security}},
		"commented out":    {"sources.list", "# deb http://a.test/debian bookworm main\n", nil},
		"too few fields":   {"sources.list", "deb http://a.test/debian bookworm\n", nil},
		"flat repository":  {"sources.list", "deb http://a.test/debian ./\n", nil},
		"security alone":   {"sources.list", "deb http://a.test/debian-security bookworm-security main\n", []string{security, main}},
		"old security":     {"sources.list", "deb http://a.test/debian-security buster/updates main\n", []string{security, main}},
		"security by host": {"sources.list", "deb http://security.test/ bookworm-security main\n", []string{"debian-security http://security.test"}},
		"own path": {"sources.list", "deb http://a.test/mirror/deb12 bookworm main\n",
			[]string{"debian http://a.test/mirror/deb12"}},
		"Debian's paths first": {"sources.list", "deb http://b.test/x bookworm main\ndeb http://a.test/debian bookworm main\n",
			[]string{main, "debian http://b.test/x", security}},
		"each once": {"sources.list", strings.Repeat("deb http://a.test/debian bookworm main\ndeb http://a.test/debian bookworm-updates main\n", 3),
			[]string{main, security}},
		"other transports": {"sources.list", "deb cdrom:[Debian 12]/ bookworm main\ndeb file:/srv/debian bookworm main\n" +
			"deb mirror+file:/etc/apt/mirrors bookworm main\ndeb tor+http://a.test/debian bookworm main\n", nil},
		"another distribution": {"sources.list", "deb http://a.test/ubuntu noble main universe\n", nil},
		"a vendor's suites":    {"sources.list", "deb https://a.test/apt cloud-sdk-bookworm main\ndeb https://a.test/repo nodistro main\n", nil},
		"a vendor's components": {"sources.list", "deb https://a.test/linux/debian bookworm stable\n" +
			"deb https://a.test/linux/debian bookworm main vendor\n", nil},
		"deb822": {"sources.list.d/debian.sources", `Types: deb deb-src
URIs: http://a.test/debian
Suites: bookworm bookworm-updates
Components: main non-free-firmware
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBGPL0BUBEADmW5NdOOHwPIJlgPu6JDcK

# The next is security.
Types: deb
URIs: http://b.test/debian-security
Suites: bookworm-security
Components: main
`, []string{main, "debian-security http://b.test/debian-security", security, "debian http://b.test/debian"}},
		"deb822 over several lines": {"sources.list.d/debian.sources",
			"URIs:\n http://a.test/debian\n http://b.test/debian\nSuites: sid\nComponents: main\n",
			[]string{main, "debian http://b.test/debian", security, "debian-security http://b.test/debian-security"}},
		"deb822 disabled": {"sources.list.d/debian.sources",
			"Enabled: no\nURIs: http://a.test/debian\nSuites: sid\nComponents: main\n", nil},
		"deb822 without URIs":   {"sources.list.d/debian.sources", "Types: deb\nSuites: sid\nComponents: main\n", nil},
		"a file apt ignores":    {"sources.list.d/debian.list.save", "deb http://a.test/debian bookworm main\n", nil},
		"a file that is absent": {"README", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			config := debian.MirrorConfig{Apt: fstest.MapFS{row.file: {Data: []byte(row.text)}}}
			got, err := config.Mirrors()
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(texts(got), row.want) {
				t.Errorf("got  %q\nwant %q", texts(got), row.want)
			}
		})
	}
}

func texts(mirrors []debian.Mirror) []string {
	var out []string
	for _, m := range mirrors {
		out = append(out, m.Archive+" "+m.URL)
	}
	return out
}

func TestGivenMirrorsReplaceThoseOfApt(t *testing.T) {
	apt := fstest.MapFS{"sources.list": {Data: []byte(
		"deb http://apt.test/debian bookworm main\ndeb http://apt.test/debian-security bookworm-security main\n")}}
	for _, row := range []struct {
		main, security string
		want           []string
	}{
		{"http://x.test/debian/ https://y.test/deb", "", []string{"debian http://x.test/debian", "debian https://y.test/deb",
			"debian-security http://apt.test/debian-security", "debian-security http://x.test/debian-security"}},
		{"http://x.test/a", "http://x.test/b", []string{"debian http://x.test/a", "debian-security http://x.test/b"}},
	} {
		got, err := debian.MirrorConfig{Main: row.main, Security: row.security, Apt: apt}.Mirrors()
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(texts(got), row.want) {
			t.Errorf("with %q and %q:\ngot  %q\nwant %q", row.main, row.security, texts(got), row.want)
		}
	}
}

func TestTheEnvironmentNamesMirrors(t *testing.T) {
	t.Setenv(debian.MirrorVariable, "http://env.test/main")
	t.Setenv(debian.SecurityMirrorVariable, "http://env.test/security")
	got, err := debian.Mirrors("", "")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"debian http://env.test/main", "debian-security http://env.test/security"}; !slices.Equal(texts(got), want) {
		t.Errorf("got %q, want %q", texts(got), want)
	}
	got, err = debian.Mirrors("http://flag.test/main", "")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"debian http://flag.test/main", "debian-security http://env.test/security"}; !slices.Equal(texts(got), want) {
		t.Errorf("with a flag: got %q, want %q", texts(got), want)
	}
}

func TestOddMirrorsAreRefused(t *testing.T) {
	for _, s := range []string{"a.test/debian", "ftp://a.test/debian", "http:///debian", "file:///srv", "http://a.test/?x", "http://a.test/#x", "http://[::1/debian"} {
		if _, err := (debian.MirrorConfig{Main: s}).Mirrors(); err == nil || !strings.Contains(err.Error(), s) {
			t.Errorf("mirror %q: error %v, want one that names it", s, err)
		}
		if _, err := (debian.MirrorConfig{Security: s}).Mirrors(); err == nil {
			t.Errorf("security mirror %q: accepted", s)
		}
	}
}

func TestABrokenAptSourceIsNamed(t *testing.T) {
	apt := fstest.MapFS{"sources.list.d/x.sources": {Data: []byte("URIs: a\nURIs: b\n")}}
	if _, err := (debian.MirrorConfig{Apt: apt}).Mirrors(); err == nil || !strings.Contains(err.Error(), "x.sources") {
		t.Errorf("error %v, want one that names the file", err)
	}
}
