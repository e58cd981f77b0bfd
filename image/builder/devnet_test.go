package builder

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/mod/modfile"
)

func TestThePeersModuleHasTheProgramsThatAreBuilt(t *testing.T) {
	root, err := Find(".")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, devnetPeers, "go.mod")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	mod, err := modfile.Parse(path, data, nil)
	if err != nil {
		t.Fatal(err)
	}
	var tools []string
	for _, tool := range mod.Tool {
		tools = append(tools, tool.Path)
	}
	slices.Sort(tools)
	if !slices.Equal(tools, devnetPrograms) {
		t.Errorf("%s has %q, what is built is %q", path, tools, devnetPrograms)
	}
	if own, err := (&Builder{Checkout: root}).goVersion(); err != nil || mod.Toolchain == nil || mod.Toolchain.Name != own {
		t.Errorf("%s names toolchain %v, the checkout %s, %v", path, mod.Toolchain, own, err)
	}
}

func TestThePeersAreBuiltAnewWhenWhatTheyAreMadeFromChanges(t *testing.T) {
	root, err := Find(".")
	if err != nil {
		t.Fatal(err)
	}
	lock, err := os.ReadFile(filepath.Join(root, "image", "lock", "toolchain.json"))
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]string{}
	for name, files := range map[string]map[string]string{
		"base":           {"go.mod": "module peers\n", "go.sum": "a\n"},
		"another module": {"go.mod": "module peers\n\n// changed\n", "go.sum": "a\n"},
		"another sum":    {"go.mod": "module peers\n", "go.sum": "b\n"},
	} {
		b := checkout(t, map[string]string{
			"image/lock/toolchain.json": string(lock),
			devnetPeers + "/go.mod":     files["go.mod"],
			devnetPeers + "/go.sum":     files["go.sum"],
		})
		key, err := b.devnetKey(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if other, twice := keys[key]; twice {
			t.Errorf("%s and %s have one key", name, other)
		}
		keys[key] = name
	}
}
