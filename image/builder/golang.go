package builder

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/sumdb/dirhash"
)

// goLock is image/lock/go.json: the Go toolchain that builds what is measured. Its version stands in
// go.mod too, for the go command itself; the two must agree.
type goLock struct {
	Module string `json:"module"` // the toolchain's module and version, as "path@version"
	Sum    string `json:"sum"`    // its h1: hash, as go.sum would have it
}

func (b *Builder) goLock() (goLock, error) {
	path := filepath.Join(b.Checkout, "image", "lock", "go.json")
	data, err := os.ReadFile(path)
	if err != nil {
		return goLock{}, err
	}
	var l goLock
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return goLock{}, fmt.Errorf("%s: %w", path, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return goLock{}, fmt.Errorf("%s: data after the object", path)
	}
	version, err := b.goVersion()
	if err != nil {
		return goLock{}, err
	}
	if want := "golang.org/toolchain@v0.0.1-" + version + ".linux-amd64"; l.Module != want {
		return goLock{}, fmt.Errorf("%s locks %q, but go.mod's toolchain line wants %q", path, l.Module, want)
	}
	if !strings.HasPrefix(l.Sum, "h1:") {
		return goLock{}, fmt.Errorf("%s: sum is %q, want h1:…", path, l.Sum)
	}
	return l, nil
}

// goVersion reads go.mod's toolchain line.
func (b *Builder) goVersion() (string, error) {
	path := filepath.Join(b.Checkout, "go.mod")
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	mod, err := modfile.Parse(path, data, nil)
	if err != nil {
		return "", err
	}
	if mod.Toolchain == nil {
		return "", fmt.Errorf("%s has no toolchain line", path)
	}
	return mod.Toolchain.Name, nil
}

// Go returns the root of the locked Go toolchain, which the host's go command fetches as a module.
func (b *Builder) Go(ctx context.Context) (string, error) {
	lock, err := b.goLock()
	if err != nil {
		return "", err
	}
	path, hit, err := b.Cache.Build(ctx, "go", inputKey(lock.Module, lock.Sum), func(ctx context.Context, dir string) error {
		stage := b.Progress.Stage("go")
		archive, err := b.downloadGo(ctx, lock.Module)
		if err != nil {
			return err
		}
		if got, err := dirhash.HashZip(archive, dirhash.Hash1); err != nil || got != lock.Sum {
			return fmt.Errorf("%s has sum %s, want %s (%v)", lock.Module, got, lock.Sum, err)
		}
		if err := unzip(ctx, archive, lock.Module+"/", dir); err != nil {
			return err
		}
		stage.Done(lock.Module)
		return nil
	})
	if hit {
		b.Progress.Stage("go").Cached(lock.Module)
	}
	return path, err
}

// downloadGo has the host's go command fetch the toolchain's module and returns its zip file.
func (b *Builder) downloadGo(ctx context.Context, module string) (string, error) {
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", module)
	cmd.Dir = os.TempDir() // outside the module: this is no dependency of it
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOTOOLCHAIN=local", "GO111MODULE=on", "GOWORK=off")
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var result struct{ Zip, Error string }
	if json.Unmarshal(out.Bytes(), &result) != nil || err != nil || result.Zip == "" {
		return "", fmt.Errorf("go mod download %s: %v %s%s", module, err, result.Error, errs.Bytes())
	}
	return result.Zip, nil
}

// unzip unpacks the files of a checked module zip that lie below prefix. Programs are made executable,
// since module zips carry no modes: they lie in bin and pkg/tool.
func unzip(ctx context.Context, archive, prefix, dir string) error {
	z, err := zip.OpenReader(archive)
	if err != nil {
		return err
	}
	defer z.Close()
	for _, f := range z.File {
		if err := ctx.Err(); err != nil {
			return err
		}
		name, ok := strings.CutPrefix(f.Name, prefix)
		if !ok || !filepath.IsLocal(name) {
			return fmt.Errorf("%s holds %q, want names below %q", archive, f.Name, prefix)
		}
		mode := os.FileMode(0o644)
		if strings.HasPrefix(name, "bin/") || strings.HasPrefix(name, "pkg/tool/") {
			mode = 0o755
		}
		if err := unzipFile(f, filepath.Join(dir, name), mode); err != nil {
			return fmt.Errorf("unpacking %s: %w", f.Name, err)
		}
	}
	return nil
}

func unzipFile(f *zip.File, path string, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	in, err := f.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
