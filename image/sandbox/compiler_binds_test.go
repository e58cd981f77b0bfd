package sandbox

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestOnlyHiddenDirectoriesAreBoundBack(t *testing.T) {
	home := t.TempDir()
	link := filepath.Join(home, "goroot")
	if err := os.Symlink("/usr/bin", link); err != nil {
		t.Fatal(err)
	}
	bind := func(target string) Bind { return Bind{Source: target, Target: target, Writable: true} }
	for name, c := range map[string]struct {
		dir  string
		env  map[string]string
		want []Bind
	}{
		"nothing hidden":         {home, map[string]string{"TMPDIR": home, "GOCACHE": home}, nil},
		"working directory":      {"/usr/share", nil, []Bind{bind("/usr/share")}},
		"below another":          {"/usr/bin", map[string]string{"GOROOT": "/usr", "GOTMPDIR": "/usr/share/"}, []Bind{bind("/usr")}},
		"through a link":         {home, map[string]string{"GOROOT": link}, []Bind{bind("/usr/bin")}},
		"a list":                 {home, map[string]string{"GOPATH": home + ":/usr/share:/usr/bin"}, []Bind{bind("/usr/bin"), bind("/usr/share")}},
		"given twice":            {"/usr/bin", map[string]string{"GOROOT": "/usr/bin"}, []Bind{bind("/usr/bin")}},
		"not there":              {home, map[string]string{"GOROOT": "/usr/absent"}, nil},
		"off, or relative":       {home, map[string]string{"GOCACHE": "off", "GOPATH": "."}, nil},
		"a name alike is no dir": {home, map[string]string{"TMPDIR": "/usr/../tmp"}, nil},
	} {
		got := compilerBinds(c.dir, func(name string) string { return c.env[name] })
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}
