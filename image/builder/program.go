package builder

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"holdfast/image/sandbox"
)

// A program is one Go command that goes into an image, or whose hash is published beside it.
type program struct {
	pkg string // its package, relative to the checkout
	cgo bool   // links C: blst
}

// Go flags that keep the host, the path and the clock out of a program.
//   - -trimpath, -buildvcs=false, -buildid=: no path, no state of version control, no identity of the link
//   - netgo, osusergo: no resolver and no user database from C
var goBuildFlags = []string{"-trimpath", "-buildvcs=false", "-mod=readonly", "-tags", "netgo,osusergo"}

const (
	linkFlags    = "-s -w -buildid="
	linkFlagsCgo = linkFlags + " -linkmode external -extldflags '-static -Wl,--build-id=none'"
)

// programEnv is the environment of the Go command in the sandbox; the sandbox adds nothing of the host's.
func programEnv(cgo bool, jobs int) []string {
	enabled := "0"
	if cgo {
		enabled = "1"
	}
	return []string{
		"GOROOT=/go", "GOPROXY=file:///proxy", "GOSUMDB=off", "GOMODCACHE=/tmp/mod", "GOCACHE=/gocache",
		"GOENV=off", "GOWORK=off", "GOTOOLCHAIN=local", "GOTELEMETRY=off", "GOFLAGS=",
		"GOOS=linux", "GOARCH=amd64", "GOAMD64=v1", "CGO_ENABLED=" + enabled, "CC=gcc",
		// Portable blst chooses its arithmetic by the CPU it finds, not by the one it was built on.
		"CGO_CFLAGS=-O2 -D__BLST_PORTABLE__", "CGO_LDFLAGS=",
		fmt.Sprintf("GOMAXPROCS=%d", jobs),
	}
}

// Modules makes sure that the module cache has all of go.mod's modules and returns its download
// directory, which serves the sandbox as a module proxy; go.sum checks each there once more.
func (b *Builder) Modules(ctx context.Context) (string, error) {
	if _, err := b.hostGo(ctx, "mod", "download"); err != nil {
		return "", err
	}
	dir, err := b.GoEnv(ctx, "GOMODCACHE")
	return filepath.Join(dir, "cache", "download"), err
}

// GoEnv returns a setting of the host's go command.
func (b *Builder) GoEnv(ctx context.Context, name string) (string, error) {
	out, err := b.hostGo(ctx, "env", name)
	return strings.TrimSpace(out), err
}

func (b *Builder) hostGo(ctx context.Context, args ...string) (string, error) {
	return goIn(ctx, b.Checkout, nil, args...)
}

// goIn runs the host's go command in a directory, with more in its environment.
func goIn(ctx context.Context, dir string, env []string, args ...string) (string, error) {
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "GOFLAGS=", "GOWORK=off"), env...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, errs.Bytes())
	}
	return out.String(), nil
}

// programs builds Go commands in the sandbox and returns their bytes, in the same order.
func (b *Builder) programs(ctx context.Context, programs ...program) ([][]byte, error) {
	root, err := b.Root(ctx, "toolchain")
	if err != nil {
		return nil, err
	}
	goroot, err := b.Go(ctx)
	if err != nil {
		return nil, err
	}
	proxy, err := b.Modules(ctx)
	if err != nil {
		return nil, err
	}
	stage := b.Progress.Stage("programs")
	var built [][]byte
	for i, p := range programs {
		stage.Update(int64(i), int64(len(programs)), "programs")
		data, err := b.program(ctx, root, goroot, proxy, p)
		if err != nil {
			return nil, fmt.Errorf("building %s: %w", p.pkg, err)
		}
		built = append(built, data)
	}
	stage.Done(fmt.Sprintf("%d built", len(built)))
	return built, nil
}

// program runs one go build. The compiler's own cache is kept, by toolchain, for speed only: its
// entries are named by the hash of all that made them.
func (b *Builder) program(ctx context.Context, root, goroot, proxy string, p program) ([]byte, error) {
	gocache := filepath.Join(b.Cache.Dir(), "gocache-"+inputKey(root, goroot))
	if err := os.MkdirAll(gocache, 0o755); err != nil {
		return nil, err
	}
	out, err := os.MkdirTemp(filepath.Join(b.Cache.Dir(), "tmp"), "program-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(out)
	ld := linkFlags
	if p.cgo {
		ld = linkFlagsCgo
	}
	var log bytes.Buffer
	args := append([]string{"/go/bin/go", "build"}, goBuildFlags...)
	err = sandbox.Run(ctx, sandbox.Spec{
		Root: root,
		Binds: []sandbox.Bind{
			{Source: goroot, Target: "/go"},
			{Source: proxy, Target: "/proxy"},
			{Source: b.Checkout, Target: "/src"},
			{Source: gocache, Target: "/gocache", Writable: true},
			{Source: out, Target: "/out", Writable: true},
		},
		Dir:    "/src",
		Env:    programEnv(p.cgo, b.jobs()),
		Args:   append(args, "-ldflags="+ld, "-o", "/out/program", "./"+p.pkg),
		Stdout: &log,
		Stderr: &log,
	})
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, log.Bytes())
	}
	return os.ReadFile(filepath.Join(out, "program"))
}
