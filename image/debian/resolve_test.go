package debian

import (
	"slices"
	"strings"
	"testing"
)

// universe reads packages from lines "suite name version; depends; provides; conflicts".
func universe(t *testing.T, text string) []*binary {
	var all []*binary
	for line := range strings.Lines(text) {
		fields := strings.Split(strings.TrimSpace(line), ";")
		head := strings.Fields(fields[0])
		if len(head) != 3 {
			continue
		}
		for len(fields) < 4 {
			fields = append(fields, "")
		}
		b := &binary{File: File{Name: head[1], Version: head[2]}, suite: head[0]}
		for i, into := range []*[]dependency{&b.depends, &b.provides, &b.conflicts} {
			d, err := parseDependencies(fields[i+1])
			if err != nil {
				t.Fatal(err)
			}
			*into = d
		}
		all = append(all, b)
	}
	return all
}

const testUniverse = `
	stable   libc      2.36;  libgcc
	stable   libgcc    12;    libc (>= 2.0)
	stable   gcc       12;    cpp (= 12), libc
	stable   cpp       12
	stable   mawk      1.3;   libc; awk
	stable   gawk      5.2;   libc; awk
	stable   original  1.0;;  awk
	stable   script    1;     awk
	stable   asks      1;     gawk | mawk
	stable   version1  1;     awk (>= 1)
	stable   version2  1;     shell (>= 2)
	stable   dash      3;;    shell (= 1.5)
	stable   bash      3;;    shell (= 2.5)
	stable   either    1;     absent | bash (>= 9) | dash
	stable   broken    1;     absent | bash (>= 9)
	stable   tool      1.0-1; libc
	security tool      1.0-1+deb1; libc
	stable   same      1.0;   libc
	security same      1.0
	backports tool     2.0;   libc (>= 2.30)
	backports libc     2.40
	stable   needsold  1;     tool (<< 1.0-1+deb1)
	stable   needsnew  1;     tool (>= 2)
	stable   fights    1;;;   dash
	stable   replaces  1;;    shell; shell
	stable   breaks    1;;;   tool (<< 2)
`

func TestResolving(t *testing.T) {
	for name, row := range map[string]struct {
		packages, exclude string
		want              string // "name version…", or an error that begins with "!"
	}{
		"a closure, cycles and all":         {"gcc", "", "cpp 12, gcc 12, libc 2.36, libgcc 12"},
		"a virtual package":                 {"script", "", "gawk 5.2, libc 2.36, libgcc 12, script 1"},
		"a provider that is there already":  {"mawk script", "", "libc 2.36, libgcc 12, mawk 1.3, script 1"},
		"roots before dependencies":         {"script mawk", "", "libc 2.36, libgcc 12, mawk 1.3, script 1"},
		"a later alternative that is there": {"mawk asks", "", "asks 1, libc 2.36, libgcc 12, mawk 1.3"},
		"the first alternative":             {"asks", "", "asks 1, gawk 5.2, libc 2.36, libgcc 12"},
		"the first that can be":             {"either", "", "dash 3, either 1"},
		"a versioned provision":             {"version2", "", "bash 3, version2 1"},
		"an unversioned provision":          {"version1", "", "!version1 1 (stable) depends on awk (>= 1), which nothing satisfies"},
		"nothing satisfies":                 {"broken", "", "!broken 1 (stable) depends on absent | bash (>= 9), which nothing satisfies"},
		"excluded":                          {"gcc", "libc", "cpp 12, gcc 12"},
		"an excluded alternative":           {"asks", "gawk", "asks 1"},
		"an excluded provider":              {"script", "gawk", "libc 2.36, libgcc 12, mawk 1.3, script 1"},
		"the highest version":               {"tool", "libc", "tool 1.0-1+deb1"},
		"the first suite on a tie":          {"same", "", "libc 2.36, libgcc 12, same 1.0"},
		"a version by pin":                  {"tool=1.0-1", "libc", "tool 1.0-1"},
		"a suite by pin":                    {"tool/backports", "", "libc 2.36, libgcc 12, tool 2.0"},
		"a pinned suite is for its pin":     {"tool/backports libc", "", "libc 2.36, libgcc 12, tool 2.0"},
		"a pin that satisfies another":      {"needsnew tool/backports", "libc", "needsnew 1, tool 2.0"},
		"a pin that does not":               {"needsnew tool", "libc", "!needsnew 1 (stable) depends on tool (>= 2), which nothing satisfies"},
		"an older version for a dependency": {"needsold", "libc", "needsold 1, tool 1.0-1"},
		"an older version too late":         {"tool needsold", "libc", "!needsold 1 (stable) depends on tool (<< 1.0-1+deb1), which nothing satisfies"},
		"one package twice":                 {"tool tool=1.0-1", "", "!package tool is asked for twice, as 1.0-1+deb1 and 1.0-1"},
		"the same root twice":               {"dash dash", "", "dash 3"},
		"an unknown package":                {"nothing", "", "!package nothing: not in stable, security"},
		"an unknown version":                {"tool=9", "", "!package tool=9: not in stable, security"},
		"an unknown suite":                  {"dash/backports", "", "!package dash/backports: not in backports"},
		"a conflict":                        {"dash fights", "", "!fights 1 conflicts with dash, and dash 3 is in the set"},
		"a conflict with what it provides":  {"replaces", "", "replaces 1"},
		"a conflict with a provision":       {"replaces dash", "", "!replaces 1 conflicts with shell, and dash 3 is in the set"},
		"a break of an older version":       {"breaks tool", "libc", "!breaks 1 conflicts with tool (<< 2), and tool 1.0-1+deb1 is in the set"},
		"a break of another version":        {"breaks tool/backports", "libc", "breaks 1, tool 2.0"},
	} {
		t.Run(name, func(t *testing.T) {
			request := SetRequest{
				Suites:   []string{"stable", "security"},
				Packages: strings.Fields(row.packages),
				Exclude:  strings.Fields(row.exclude),
			}
			if err := request.check("test"); err != nil {
				t.Fatal(err)
			}
			got := resolveText(request, universe(t, testUniverse))
			if got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
		})
	}
}

func resolveText(request SetRequest, all []*binary) string {
	files, err := newResolver(request, all).resolve()
	if err != nil {
		return "!" + err.Error()
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name+" "+f.Version)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func TestPackagesAloneBringNothing(t *testing.T) {
	request := SetRequest{Suites: []string{"stable"}, Packages: []string{"gcc"}, Alone: true}
	if got := resolveText(request, universe(t, testUniverse)); got != "gcc 12" {
		t.Errorf("got %s, want gcc 12", got)
	}
}

func TestSourcesAreFoundByPinAndPattern(t *testing.T) {
	file := func(name string) File { return File{Name: name} }
	all := []*source{
		{name: "qemu", version: "1", suite: "stable", files: []File{file("qemu_1.dsc"), file("qemu_1.orig.tar.xz")}},
		{name: "qemu", version: "2", suite: "stable", files: []File{file("qemu_2.dsc"), file("qemu_2.orig.tar.xz")}},
		{name: "qemu", version: "3", suite: "backports", files: []File{file("qemu_3.orig.tar.xz")}},
	}
	for _, row := range []struct{ pin, files, want string }{
		{"qemu", "*.orig.tar.xz", "qemu_2.orig.tar.xz"},
		{"qemu=1", "*.orig.tar.xz", "qemu_1.orig.tar.xz"},
		{"qemu/backports", "*", "qemu_3.orig.tar.xz"},
		{"qemu", "*", "qemu_2.dsc qemu_2.orig.tar.xz"},
		{"qemu", "*.zip", `!source package qemu 2 has no file that matches "*.zip"`},
		{"qemu=3", "*", "!source package qemu=3: not in the suites"},
		{"kvm", "*", "!source package kvm: not in the suites"},
	} {
		request := SetRequest{Suites: []string{"stable"}, Sources: []SourceRequest{{Package: row.pin, Files: row.files}}}
		files, err := resolveSources(request, all)
		var names []string
		for _, f := range files {
			names = append(names, f.Name)
		}
		got := strings.Join(names, " ")
		if err != nil {
			got = "!" + err.Error()
		}
		if got != row.want {
			t.Errorf("%s with %s: got %s, want %s", row.pin, row.files, got, row.want)
		}
	}
}
