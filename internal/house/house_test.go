package house_test

import (
	"bytes"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"holdfast/internal/testenv"
)

// tracked returns the files of the checkout that git knows, by path from its root.
func tracked(t *testing.T) (root string, files []string) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("listing the checkout: %v", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if _, err := os.Lstat(filepath.Join(root, name)); err == nil {
			files = append(files, name)
		}
	}
	return root, files
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	root, files := tracked(t)
	says := map[string]bool{}
	for _, name := range files {
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || strings.Contains(name, "testdata/") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, name), nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Dir(name)
		says[dir] = says[dir] || file.Doc != nil
	}
	for dir, ok := range says {
		if !ok {
			t.Errorf("%s has no package comment", dir)
		}
	}
}

// imports returns what the packages below a directory import of this module, tests left out.
func imports(t *testing.T, root, dir string) map[string]bool {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "./"+dir+"/...")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOFLAGS=")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	deps := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		deps[strings.TrimSpace(line)] = true
	}
	return deps
}

func TestTheLayersDoNotImportEachOther(t *testing.T) {
	root, _ := tracked(t)
	for _, rule := range []struct {
		dir, why string
		never    []string
	}{
		{"image", "the builder is a pure function of its inputs", []string{"holdfast/enclave", "holdfast/parent"}},
		{"verify", "the auditor's tool shares nothing with what it audits", []string{"holdfast/enclave", "holdfast/parent"}},
		{"keys", "who holds keys needs neither the builder nor the parent", []string{"holdfast/image", "holdfast/parent"}},
		{"enclave", "what is measured knows nothing of its host", []string{"holdfast/parent", "holdfast/image"}},
	} {
		for dep := range imports(t, root, rule.dir) {
			for _, never := range rule.never {
				if dep == never || strings.HasPrefix(dep, never+"/") {
					t.Errorf("%s reaches %s: %s", rule.dir, dep, rule.why)
				}
			}
		}
	}
}

// A host of Debian's other than the snapshot archive is a mirror, which belongs to the machine's own
// configuration; so is the address of a module proxy.
var mirrorHost = regexp.MustCompile(`\b(deb|security|ftp[.a-z]*|archive|httpredir|cdn-fastly)\.debian\.org\b|\bproxy\.golang\.(org|com)\b|\bregistry\.npmjs\.`)

func TestNoMirrorIsNamed(t *testing.T) {
	root, files := tracked(t)
	for _, name := range files {
		data, err := os.ReadFile(filepath.Join(root, name))
		if err != nil || bytes.IndexByte(data, 0) >= 0 {
			continue
		}
		if name == "internal/house/house_test.go" {
			continue
		}
		if found := mirrorHost.Find(data); found != nil {
			t.Errorf("%s names %s", name, found)
		}
	}
}

// documented finds the commands in a document: the lines of its sh blocks.
var (
	shBlock   = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")
	variables = regexp.MustCompile(`^([A-Z0-9_]+=\S* )+`) // set for one command
)

func commandsIn(t *testing.T, root, name string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	var commands []string
	for _, block := range shBlock.FindAllStringSubmatch(string(data), -1) {
		for line := range strings.Lines(strings.ReplaceAll(block[1], "\\\n", "")) {
			line, _, _ = strings.Cut(strings.TrimSpace(line), "  ")
			line, _, _ = strings.Cut(line, " #")
			if line = strings.TrimSpace(variables.ReplaceAllString(line, "")); line != "" {
				commands = append(commands, line)
			}
		}
	}
	return commands
}

// others are programs that are not ours and that the documents use, with where their use is tested.
var others = map[string]string{
	"curl":       "the answer of /attestation as a document: verify's testscripts",
	"ssh-keygen": "signatures of PCRS.md, both ways: verify/sshsig",
	"go":         "the build of verify: image/builder compares it with the sandbox's",
	"sha384sum":  "a hash",
	"aws":        "needs an account; the policy that it prints is read by verify's testscripts",
}

func TestTheCommandsInTheDocumentsExist(t *testing.T) {
	root, files := tracked(t)
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, name := range files {
		if !strings.HasSuffix(name, ".md") || strings.Contains(name, "testdata/") || name == "PCRS.md" {
			continue
		}
		for _, command := range commandsIn(t, root, name) {
			seen++
			words := strings.Fields(command)
			switch {
			case words[0] == "make" && len(words) == 2:
				if !bytes.Contains(makefile, []byte("\n"+words[1]+":")) {
					t.Errorf("%s: %q: the Makefile has no target %s", name, command, words[1])
				}
			case strings.HasPrefix(words[0], "bin/") && len(words) > 1:
				checkHelp(t, root, name, command, words)
			case others[words[0]] != "":
			default:
				t.Errorf("%s: %q is neither a make target nor a program of ours: test it, and teach this test", name, command)
			}
		}
	}
	if seen < 10 {
		t.Fatalf("found %d commands: the documents are not read", seen)
	}
}

// checkHelp asks the program for the help of the verb, and wants each flag of the command in it. What the
// commands do is tested in the programs' own tests and on the emulated machine.
func checkHelp(t *testing.T, root, name, command string, words []string) {
	t.Helper()
	bin := testenv.Need(t, "HOLDFAST_BIN")
	cmd := exec.Command(filepath.Join(bin, strings.TrimPrefix(words[0], "bin/")), words[1], "-h")
	cmd.Dir = root
	help, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s: %q: asking for help: %v\n%s", name, command, err, help)
		return
	}
	for _, word := range words[2:] {
		if flag := strings.TrimLeft(word, "-"); strings.HasPrefix(word, "-") && !bytes.Contains(help, []byte("-"+flag)) {
			t.Errorf("%s: %q: the help does not know -%s", name, command, flag)
		}
	}
}

func TestTheDocumentsLinkToWhatExists(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	root, files := tracked(t)
	for _, name := range files {
		if !strings.HasSuffix(name, ".md") || strings.Contains(name, "testdata/") {
			continue
		}
		data, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(data), -1) {
			if _, err := fs.Stat(os.DirFS(root), filepath.ToSlash(filepath.Join(filepath.Dir(name), m[1]))); err != nil {
				t.Errorf("%s links to %s: %v", name, m[1], err)
			}
		}
	}
}

// A claim of the documents that names its tests is shown by tests that exist.
func TestTheTestsThatTheDocumentsNameExist(t *testing.T) {
	named, defined := regexp.MustCompile("`(Test[A-Z][A-Za-z0-9]*)`"), regexp.MustCompile(`(?m)^func (Test[A-Z][A-Za-z0-9]*)\(t \*testing\.T\)`)
	root, files := tracked(t)
	exists, wanted := map[string]bool{}, map[string]string{}
	for _, name := range files {
		if !strings.HasSuffix(name, "_test.go") && !strings.HasSuffix(name, ".md") {
			continue
		}
		data, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, ".md") {
			for _, m := range named.FindAllSubmatch(data, -1) {
				wanted[string(m[1])] = name
			}
			continue
		}
		for _, m := range defined.FindAllSubmatch(data, -1) {
			exists[string(m[1])] = true
		}
	}
	if len(wanted) == 0 {
		t.Fatal("no document names a test")
	}
	for test, name := range wanted {
		if !exists[test] {
			t.Errorf("%s names %s, which does not exist", name, test)
		}
	}
}
