package sandbox_test

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"holdfast/internal/testenv"
)

const toolchainVariable = "HOLDFAST_TOOLCHAIN_ROOT"

// toolchain returns the unpacked toolchain, which `make test` provides.
func toolchain(t testing.TB) string {
	t.Helper()
	return testenv.Need(t, toolchainVariable)
}

// generator is G1's generator, compressed: the public key of the secret key 1
// (draft-irtf-cfrg-bls-signature; ZCash serialisation).
const generator = "97f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb"

func TestTheGoCommandBuildsCgoWithTheToolchainsCompiler(t *testing.T) {
	toolchain(t)
	self, err := os.Executable()
	must(t, err)
	program := filepath.Join(t.TempDir(), "program")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-linkmode external -extldflags -static",
		"-o", program, "./testdata/cgo")
	build.Env = append(os.Environ(), helperVariable+"=compiler", "CC="+self, "CGO_ENABLED=1",
		"CGO_CFLAGS=-O2 -D__BLST_PORTABLE__")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	mustBeStatic(t, program)
	out, err := exec.Command(program).Output()
	must(t, err)
	if got := string(out); !strings.HasPrefix(got, "42 glibc 2.") || !strings.HasSuffix(got, generator+"\n") {
		t.Errorf("got %q, want 42, glibc's version and %s", got, generator)
	}
}

func mustBeStatic(t *testing.T, program string) {
	t.Helper()
	f, err := elf.Open(program)
	must(t, err)
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Errorf("%s wants a dynamic linker", program)
		}
	}
}

const source = `#include <stdio.h>
int main(void) { return printf("%s\n", __FILE__) < 0; }
`

// compile runs the compiler helper in dir with args, as that user.
func compile(t testing.TB, dir string, user int, args ...string) (string, error) {
	t.Helper()
	exe := program(t)
	cmd := exec.Command(exe, args...)
	cmd.Dir = dir
	cmd.Env = []string{helperVariable + "=compiler", toolchainVariable + "=" + toolchain(t), "LANG=et_EE", "TZ=Asia/Tokyo"}
	if user != os.Geteuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(user), Gid: uint32(user)}}
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func program(t testing.TB) string {
	t.Helper()
	dir := publicDir(t, os.Geteuid())
	b, err := os.ReadFile("/proc/self/exe")
	must(t, err)
	exe := filepath.Join(dir, "sandbox.test")
	must(t, os.WriteFile(exe, b, 0o755))
	return exe
}

// publicDir makes a directory that every user can reach, unlike t.TempDir's,
// and that belongs to one.
func publicDir(t testing.TB, owner int) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sandbox-test-")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	must(t, os.Chown(dir, owner, owner))
	return dir
}

func TestTheCompilerGivesTheSameBytesForEveryUserAndDirectory(t *testing.T) {
	toolchain(t)
	users := []int{os.Geteuid(), os.Geteuid()}
	if os.Geteuid() == 0 {
		users[1] = ordinaryUser
	}
	var sums [2][32]byte
	for i, user := range users {
		dir := publicDir(t, user)
		must(t, os.WriteFile(filepath.Join(dir, "main.c"), []byte(source), 0o644))
		if out, err := compile(t, dir, user, "-O2", "-g", "-static", "-ffile-prefix-map="+dir+"=.", "-o", "main", "main.c"); err != nil {
			t.Fatalf("gcc as user %d: %v\n%s", user, err, out)
		}
		b, err := os.ReadFile(filepath.Join(dir, "main"))
		must(t, err)
		sums[i] = sha256.Sum256(b)
		out, err := exec.Command(filepath.Join(dir, "main")).Output()
		must(t, err)
		expect(t, "output", string(out), "main.c\n")
	}
	expect(t, "SHA-256", sums[1], sums[0])
}

func TestTheCompilersErrorsPassThrough(t *testing.T) {
	toolchain(t)
	dir := publicDir(t, os.Geteuid())
	must(t, os.WriteFile(filepath.Join(dir, "main.c"), []byte("int main(void) { return x; }\n"), 0o644))
	out, err := compile(t, dir, os.Geteuid(), "-c", "main.c")
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(out, "'x' undeclared") {
		t.Errorf("got %v, %q, want status 1 and the compiler's message", err, out)
	}
}

func TestAMissingToolchainIsNotTheCompilersFault(t *testing.T) {
	cmd := helper(t, "compiler", "-v")
	cmd.Env = append(cmd.Env, toolchainVariable+"="+filepath.Join(t.TempDir(), "absent"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != 125 || !strings.Contains(stderr.String(), "no such file") {
		t.Errorf("got %v, %q, want status 125 and the reason", err, stderr.String())
	}
}

func BenchmarkCompilerCall(b *testing.B) {
	dir := publicDir(b, os.Geteuid())
	must(b, os.WriteFile(filepath.Join(dir, "main.c"), nil, 0o644))
	exe, root := program(b), toolchain(b)
	for b.Loop() {
		cmd := exec.Command(exe, "-c", "main.c")
		cmd.Dir = dir
		cmd.Env = []string{helperVariable + "=compiler", toolchainVariable + "=" + root}
		must(b, cmd.Run())
	}
}

func BenchmarkCompilerWithoutSandbox(b *testing.B) {
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		b.Skip("this machine has no gcc to compare with")
	}
	dir := b.TempDir()
	must(b, os.WriteFile(filepath.Join(dir, "main.c"), nil, 0o644))
	for b.Loop() {
		cmd := exec.Command(gcc, "-c", "main.c")
		cmd.Dir = dir
		must(b, cmd.Run())
	}
}
