// Command assemble makes docs/verify.html: the verifier as one page that needs
// no server and no network.
//
// The page holds the verifier, compiled to WebAssembly, and its security policy
// allows it no connection at all: what is dropped on it cannot leave it. The
// same checkout and Go give the same bytes.
//
//	go run ./verify/wasm/assemble -o docs/verify.html
package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"

	"holdfast/verify/page"
	"holdfast/verify/pcrs"
)

//go:embed shell.tmpl
var source string

//go:embed shell.css
var stylesheet string

//go:embed shell.js
var script string

var shell = template.Must(template.New("shell").Parse(source))

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "assemble:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stderr io.Writer) error {
	set := flag.NewFlagSet("assemble", flag.ContinueOnError)
	set.SetOutput(stderr)
	out := set.String("o", "docs/verify.html", "write the page to this `file`")
	measurements := set.String("pcrs", "PCRS.md", "put this `file` into the page, if it exists")
	if err := set.Parse(args); err != nil {
		return err
	}
	html, err := assemble(ctx, *measurements)
	if err != nil {
		return err
	}
	return os.WriteFile(*out, html, 0o644)
}

// assemble makes the page. Flags are further ones for the compiler.
func assemble(ctx context.Context, measurements string, flags ...string) ([]byte, error) {
	published, err := readPublished(measurements)
	if err != nil {
		return nil, err
	}
	program, err := compile(ctx, flags)
	if err != nil {
		return nil, err
	}
	support, err := readSupport(ctx)
	if err != nil {
		return nil, err
	}
	style := page.Stylesheet() + stylesheet
	var b bytes.Buffer
	err = shell.Execute(&b, map[string]any{
		"Policy":       policy(style, support, script),
		"Style":        template.CSS(style),
		"Support":      template.JS(support),
		"Script":       template.JS(script),
		"Program":      template.HTML(base64.StdEncoding.EncodeToString(program)),
		"Measurements": string(published),
	})
	return b.Bytes(), err
}

// readPublished reads a PCRS.md that the page compares with. A file that is
// there must be readable.
func readPublished(name string) ([]byte, error) {
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	_, err = pcrs.Parse(data)
	return data, err
}

// policy allows the page's own style and scripts, by hash, and compiling the
// program that it holds; nothing may be fetched, sent or embedded.
func policy(style string, scripts ...string) string {
	hash := func(s string) string {
		sum := sha256.Sum256([]byte(s))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	allowed := []string{"'wasm-unsafe-eval'"}
	for _, s := range scripts {
		allowed = append(allowed, hash(s))
	}
	return "default-src 'none'; connect-src 'none'; style-src " + hash(style) + "; script-src " + strings.Join(allowed, " ") + "; base-uri 'none'; form-action 'none'"
}

// compile builds the verifier, and compresses it.
func compile(ctx context.Context, flags []string) ([]byte, error) {
	temp, err := os.MkdirTemp("", "holdfast-wasm-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temp)
	out := filepath.Join(temp, "verify.wasm")
	args := append([]string{"build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w"}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, "-o", out, "holdfast/verify/wasm")...)
	cmd.Env = append(os.Environ(), "GOOS=js", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=", "GOWASM=")
	if log, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compiling the verifier: %w\n%s", err, log)
	}
	program, err := os.ReadFile(out)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	_, err = z.Write(program)
	err = errors.Join(err, z.Close())
	return b.Bytes(), err
}

// readSupport returns the script that Go's programs need in a browser, which
// comes with every Go and belongs to its version.
func readSupport(ctx context.Context) (string, error) {
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", err)
	}
	data, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(root)), "lib", "wasm", "wasm_exec.js"))
	return string(data), err
}
