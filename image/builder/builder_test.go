package builder

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/image/cpio"
	"holdfast/image/eif"
)

// checkout makes a directory that has what the tests read of a checkout.
func checkout(t *testing.T, files map[string]string) *Builder {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return &Builder{Checkout: dir}
}

func fakeKernel() *Kernel {
	image := make([]byte, 4096)
	copy(image[0x1fe:], "\x55\xaa")
	copy(image[0x202:], "HdrS")
	image[0x211] = 1
	return &Kernel{Image: image, Version: "6.12.0"}
}

func TestTwentyImagesFromShuffledTreesAreTheSame(t *testing.T) {
	img, err := describe("v1.0.0", fakeKernel(), []byte("the init"), []byte("the app"))
	if err != nil {
		t.Fatal(err)
	}
	first, err := assemble("v1.0.0", img)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		shuffled := *img
		shuffled.Ramdisks = [][]byte{shuffle(t, platformTree([]byte("the init"))), shuffle(t, applicationTree([]byte("the app")))}
		again, err := assemble("v1.0.0", &shuffled)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again.EIF, first.EIF) {
			d, err := eif.Compare(first.EIF, again.EIF)
			t.Fatalf("build %d: %v, %v", i, d, err)
		}
	}
}

func shuffle(t *testing.T, tree []cpio.Entry) []byte {
	t.Helper()
	rand.Shuffle(len(tree), func(i, j int) { tree[i], tree[j] = tree[j], tree[i] })
	archive, err := cpio.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	return archive
}

func TestTheProgramsMoveTheirOwnMeasurementOnly(t *testing.T) {
	build := func(init, app string) *Enclave {
		img, err := describe("v1.0.0", fakeKernel(), []byte(init), []byte(app))
		if err != nil {
			t.Fatal(err)
		}
		e, err := assemble("v1.0.0", img)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	base := build("init", "app")
	if e := build("init", "apt"); e.Image.PCR1 != base.Image.PCR1 || e.Image.PCR2 == base.Image.PCR2 || e.Image.PCR0 == base.Image.PCR0 {
		t.Error("a change of the application must move PCR0 and PCR2, and leave PCR1")
	}
	if e := build("inti", "app"); e.Image.PCR1 == base.Image.PCR1 || e.Image.PCR2 != base.Image.PCR2 || e.Image.PCR0 == base.Image.PCR0 {
		t.Error("a change of init must move PCR0 and PCR1, and leave PCR2")
	}
}

func TestInputKeysTellListsApart(t *testing.T) {
	keys := map[string]bool{}
	for _, inputs := range [][]string{{}, {""}, {"", ""}, {"a", "b"}, {"ab"}, {"b", "a"}, {"a", "b", ""}, {"a\n1 b"}} {
		keys[inputKey(inputs...)] = true
	}
	if len(keys) != 8 {
		t.Fatalf("8 lists gave %d keys", len(keys))
	}
}

func TestFindClimbsToTheCheckout(t *testing.T) {
	b := checkout(t, map[string]string{"go.mod": "module holdfast\n", "image/eif/x": "", "other/go.mod": "module other\n"})
	if got, err := Find(filepath.Join(b.Checkout, "image", "eif")); err != nil || got != b.Checkout {
		t.Errorf("Find = %q, %v; want %q", got, err, b.Checkout)
	}
	if got, err := Find(filepath.Join(b.Checkout, "other")); err != nil || got != b.Checkout {
		t.Errorf("from another module inside: Find = %q, %v; want %q", got, err, b.Checkout)
	}
	if _, err := Find("/"); err == nil || !strings.Contains(err.Error(), "-C") {
		t.Errorf("got %v, want an error with a hint", err)
	}
}

func TestTheVersionIsOneWord(t *testing.T) {
	for content, ok := range map[string]bool{"v1.2.3\n": true, "": false, "\n": false, "v1 2\n": false, "v1\r\n": false} {
		b := checkout(t, map[string]string{"image/VERSION": content})
		if v, err := b.Version(); (err == nil) != ok {
			t.Errorf("%q: got %q, %v", content, v, err)
		}
	}
}

func TestTheGoLockAgreesWithGoMod(t *testing.T) {
	const mod = "module holdfast\n\ngo 1.26.8\n\ntoolchain go1.26.8\n"
	const lock = `{"module": "golang.org/toolchain@v0.0.1-go1.26.8.linux-amd64", "sum": "h1:abc="}`
	for _, c := range []struct{ name, mod, lock, want string }{
		{"sound", mod, lock, ""},
		{"another version", mod, strings.Replace(lock, "1.26.8", "1.26.7", 1), "go.mod's toolchain line wants"},
		{"no toolchain line", "module holdfast\n", lock, "no toolchain line"},
		{"unknown field", mod, strings.Replace(lock, "sum", "sums", 1), "unknown field"},
		{"data after it", mod, lock + "{}", "data after the object"},
		{"truncated", mod, lock[:20], "unexpected EOF"},
		{"another hash", mod, strings.Replace(lock, "h1:", "h2:", 1), "want h1:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := checkout(t, map[string]string{"go.mod": c.mod, "image/lock/go.json": c.lock})
			_, err := b.goLock()
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestThisCheckoutsLocksAreSound(t *testing.T) {
	root, err := Find(".")
	if err != nil {
		t.Fatal(err)
	}
	if err := (&Builder{Checkout: root}).CheckLocks(); err != nil {
		t.Fatal(err)
	}
}

func TestAnUnknownSetIsNamedBeforeAnythingIsFetched(t *testing.T) {
	err := (&Builder{}).FetchSets(context.Background(), []string{"kernle"})
	if err == nil || !strings.Contains(err.Error(), `no set "kernle"`) {
		t.Fatalf("got %v", err)
	}
}

func TestUpstreamCutsTheDebianRevision(t *testing.T) {
	for in, want := range map[string]string{"6.12.117-1~deb12u1": "6.12.117", "1-2-3": "1-2", "native": "native"} {
		if got := upstream(in); got != want {
			t.Errorf("upstream(%q) = %q, want %q", in, got, want)
		}
	}
}
