package sandbox_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/image/sandbox"
)

// helperVariable makes the test program one of the helpers below instead.
const helperVariable = "SANDBOX_TEST_HELPER"

// inmateVariable hands the built inmate to the tests run as another user.
const inmateVariable = "SANDBOX_TEST_INMATE"

var helpers = map[string]func() int{
	"start-and-wait":   helperStartAndWait,
	"forbid-and-check": helperForbidAndCheck,
	"odd-parent":       helperOddParent,
	"compiler":         helperCompiler,
}

var inmate string // the static program that the tests run inside

func TestMain(m *testing.M) {
	helper := os.Getenv(helperVariable)
	if helper == "start-without-init" { // by its name, before Init
		os.Exit(helperStartWithoutInit())
	}
	sandbox.Init()
	if helper != "" {
		syscall.Exit(helpers[helper]()) // as Init does
	}
	os.Exit(runTests(m))
}

// shareToolchain gives the toolchain a second name that every user can reach, where root runs the tests:
// root's cache is root's alone, and some tests run as an ordinary user.
func shareToolchain(to string) error {
	from := os.Getenv(toolchainVariable)
	if from == "" || os.Geteuid() != 0 {
		return nil
	}
	if err := os.Chmod(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	link := func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(to, strings.TrimPrefix(path, from))
		if d.IsDir() {
			return os.Mkdir(target, 0o755)
		}
		if os.Link(path, target) == nil {
			return nil
		}
		return duplicate(path, target, d)
	}
	if err := filepath.WalkDir(from, link); err != nil {
		return fmt.Errorf("sharing the toolchain: %w", err)
	}
	return os.Setenv(toolchainVariable, to)
}

// duplicate copies a file or a symlink, for where links cannot lead: into another file system.
func duplicate(path, target string, d fs.DirEntry) error {
	if d.Type() == fs.ModeSymlink {
		to, err := os.Readlink(path)
		if err != nil {
			return err
		}
		return os.Symlink(to, target)
	}
	info, err := d.Info()
	if err != nil {
		return err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return os.WriteFile(target, data, info.Mode().Perm())
}

func runTests(m *testing.M) int {
	if inmate = os.Getenv(inmateVariable); inmate != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "sandbox-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := shareToolchain(filepath.Join(dir, "toolchain")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	inmate = filepath.Join(dir, "inmate")
	build := exec.Command("go", "build", "-o", inmate, "./testdata/inmate")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build inmate: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// helper returns a command that runs this program as the helper of that name.
func helper(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), helperVariable+"="+name, inmateVariable+"="+inmate)
	cmd.Stderr = os.Stderr
	return cmd
}

// minimalRoot is a toolchain with one program, /bin/inmate.
func minimalRoot(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"usr/bin", "usr/lib", "usr/share/doc", "var"} {
		must(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	must(t, os.Symlink("usr/bin", filepath.Join(root, "bin")))
	must(t, os.Symlink("/usr/lib", filepath.Join(root, "lib")))
	must(t, os.WriteFile(filepath.Join(root, "usr/lib/note"), []byte("toolchain\n"), 0o644))
	b, err := os.ReadFile(inmate)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(root, "usr/bin/inmate"), b, 0o755))
	return root
}

// spec is the inmate with args in a minimal root.
func spec(t *testing.T, args ...string) sandbox.Spec {
	t.Helper()
	return sandbox.Spec{Root: minimalRoot(t), Args: append([]string{"inmate"}, args...), Stderr: os.Stderr}
}

// output runs s and returns what it printed.
func output(t *testing.T, s sandbox.Spec) string {
	t.Helper()
	var out bytes.Buffer
	s.Stdout = &out
	must(t, sandbox.Run(context.Background(), s))
	return out.String()
}

// facts is what the inmate reports of its surroundings.
type facts struct {
	Args, Env            []string
	Dir                  string
	Hostname, Domainname string
	UID, GID, PID        int
	Umask                int
	Interfaces           map[string]bool
	Status               map[string]string
	Limits               string
	Personality          uintptr
	Root                 []string
	Descriptors          []string
	Processes            []string
	Cgroup               string
}

func parseFacts(t *testing.T, text string) facts {
	t.Helper()
	var f facts
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	must(t, d.Decode(&f))
	return f
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eof fails the test unless r ends soon: a pipe ends when the last process that
// holds its other end is dead.
func eof(t *testing.T, r *os.File) {
	t.Helper()
	must(t, r.SetReadDeadline(time.Now().Add(20*time.Second)))
	if b, err := readAll(r); err != nil {
		t.Fatalf("the pipe is still held: %v, after %q", err, b)
	}
}

func readAll(r *os.File) ([]byte, error) {
	var b bytes.Buffer
	_, err := b.ReadFrom(r)
	return b.Bytes(), err
}

// pipe returns a pipe, closed with the test.
func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	must(t, err)
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

// awaitReady reads until the inmate says that it sleeps.
func awaitReady(t *testing.T, r *os.File) {
	t.Helper()
	must(t, r.SetReadDeadline(time.Now().Add(20*time.Second)))
	b := make([]byte, len("ready\n"))
	if n, err := r.Read(b); err != nil || string(b[:n]) != "ready\n" {
		t.Fatalf("got %q, %v, want ready", b[:n], err)
	}
}

// helperStartAndWait runs a family in the root given by its argument until
// somebody kills it.
func helperStartAndWait() int {
	s := sandbox.Spec{Root: os.Args[1], Args: []string{"inmate", "family", "3"}, Stdout: os.Stdout}
	return fail(sandbox.Run(context.Background(), s))
}

// helperForbidAndCheck switches user namespaces off, in the user namespace that
// it was started in, and prints what Check then says.
func helperForbidAndCheck() int {
	if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0); err != nil {
		return fail(err)
	}
	var forbidden *sandbox.ForbiddenError
	err := sandbox.Check()
	if !errors.As(err, &forbidden) {
		return fail(fmt.Errorf("got %v, want a ForbiddenError", err))
	}
	fmt.Println(forbidden)
	return 0
}

// helperOddParent has a personality, a umask, a limit and an open descriptor
// that must not show inside.
func helperOddParent() int {
	const uname26 = 0x0020000
	if !onOddThread {
		runtime.LockOSThread()
		syscall.Umask(0o077)
		if _, _, errno := syscall.Syscall(syscall.SYS_PERSONALITY, uname26, 0, 0); errno != 0 {
			return fail(errno)
		}
		if _, err := syscall.Open("/etc/passwd", syscall.O_RDONLY, 0); err != nil { // stays open across exec
			return fail(err)
		}
		env := append(os.Environ(), oddThreadVariable+"=1")
		return fail(syscall.Exec("/proc/self/exe", os.Args, env))
	}
	s := sandbox.Spec{Root: os.Args[1], Args: []string{"inmate", "report"}, Stdout: os.Stdout}
	return fail(sandbox.Run(context.Background(), s))
}

const oddThreadVariable = "SANDBOX_TEST_ODD"

var onOddThread = os.Getenv(oddThreadVariable) != ""

func helperStartWithoutInit() int {
	err := sandbox.Run(context.Background(), sandbox.Spec{Root: os.Args[1], Args: []string{"inmate", "exit", "0"}})
	fmt.Println(err)
	return 0
}

func helperCompiler() int {
	return sandbox.CompilerMain(os.Args[1:], os.Getenv("HOLDFAST_TOOLCHAIN_ROOT"))
}

func fail(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}
