// Package rebuild builds an enclave image and the program verify from source
// and says what they measure, so that it can be compared with what is published.
//
// The building is done by the program image, of this checkout or of the one
// that is rebuilt, and so is the measuring: a verifier that could build would
// contain a builder. What this package does on its own is little: it finds the
// source of a release by its git tag, and hashes the file that came out.
package rebuild

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"holdfast/verify/pcrs"
)

// A Program is the path of the command image.
type Program string

// Files are the paths of what a build gives.
type Files struct {
	EIF    string
	Verify string // the program verify; empty where it is not wanted
}

// Build builds a checkout into files. Progress goes to log.
func (p Program) Build(ctx context.Context, checkout string, files Files, log io.Writer) error {
	args := []string{"build", "-C", checkout, "-unpublished", "-o", files.EIF}
	if files.Verify != "" {
		args = append(args, "-verify", files.Verify)
	}
	cmd := exec.CommandContext(ctx, string(p), args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s build: %w", p, err)
	}
	return nil
}

// maxAnswer bounds what image measure prints.
const maxAnswer = 64 << 10

// Measure returns what built files measure. PCR8 is zero where the image has no
// signature.
func (p Program) Measure(ctx context.Context, files Files) (pcrs.Image, error) {
	var out, log bytes.Buffer
	cmd := exec.CommandContext(ctx, string(p), "measure", files.EIF)
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		return pcrs.Image{}, fmt.Errorf("%s measure: %w: %s", p, err, strings.TrimSpace(log.String()))
	}
	img, err := parseMeasurements(out.Bytes())
	if err != nil {
		return pcrs.Image{}, fmt.Errorf("%s measure: %w", p, err)
	}
	if err := hashImage(files.EIF, &img); err != nil {
		return pcrs.Image{}, err
	}
	if files.Verify != "" {
		img.Verify, err = hashFile(files.Verify)
	}
	return img, err
}

// parseMeasurements reads the JSON of nitro-cli's form.
func parseMeasurements(data []byte) (pcrs.Image, error) {
	if len(data) > maxAnswer {
		return pcrs.Image{}, fmt.Errorf("got %d bytes, want at most %d", len(data), maxAnswer)
	}
	var answer struct {
		Measurements struct {
			HashAlgorithm    string
			PCR0, PCR1, PCR2 pcrs.PCR
			PCR8             *pcrs.PCR
		}
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&answer); err != nil {
		return pcrs.Image{}, fmt.Errorf("malformed measurements: %w", err)
	}
	m := answer.Measurements
	if m.PCR0.IsZero() || m.PCR1.IsZero() || m.PCR2.IsZero() {
		return pcrs.Image{}, errors.New("want PCR0, PCR1 and PCR2, none of them zero")
	}
	img := pcrs.Image{PCR0: m.PCR0, PCR1: m.PCR1, PCR2: m.PCR2}
	if m.PCR8 != nil {
		img.PCR8 = *m.PCR8
	}
	return img, nil
}

// hashFile returns a file's SHA-384.
func hashFile(file string) (pcrs.Digest, error) {
	f, err := os.Open(file)
	if err != nil {
		return pcrs.Digest{}, err
	}
	defer f.Close()
	h := sha512.New384()
	if _, err := io.Copy(h, f); err != nil {
		return pcrs.Digest{}, err
	}
	return pcrs.Digest(h.Sum(nil)), nil
}

// hashImage fills in what can be read off the file itself: its digest, its size,
// and the architecture in its header.
func hashImage(file string, img *pcrs.Image) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	var header [8]byte // magic, version, flags
	if _, err := io.ReadFull(f, header[:]); err != nil || string(header[:4]) != ".eif" {
		return fmt.Errorf("%s: no enclave image", file)
	}
	img.Architecture = pcrs.X8664
	if binary.BigEndian.Uint16(header[6:])&1 != 0 {
		img.Architecture = pcrs.AArch64
	}
	h := sha512.New384()
	h.Write(header[:])
	n, err := io.Copy(h, f)
	img.Size = n + int64(len(header))
	h.Sum(img.EIF[:0])
	return err
}

// Version returns the version that a checkout builds, from image/VERSION.
func Version(checkout string) (string, error) {
	data, err := os.ReadFile(filepath.Join(checkout, "image", "VERSION"))
	return strings.TrimSuffix(string(data), "\n"), err
}

// A Source is the checkout of a release, beside the repository's own.
type Source struct {
	Dir    string // its root
	Commit string
	repo   string
	temp   string
}

// CheckOut makes a temporary worktree of a release's tag. Close removes it.
func CheckOut(ctx context.Context, repo, version string) (*Source, error) {
	commit, err := git(ctx, repo, "rev-parse", "--verify", "--quiet", "refs/tags/"+version+"^{commit}")
	if err != nil {
		return nil, fmt.Errorf("no tag %s: %w", version, err)
	}
	temp, err := os.MkdirTemp("", "holdfast-rebuild-")
	if err != nil {
		return nil, err
	}
	s := &Source{Dir: filepath.Join(temp, "src"), Commit: commit, repo: repo, temp: temp}
	if _, err := git(ctx, repo, "worktree", "add", "--quiet", "--detach", s.Dir, commit); err != nil {
		return nil, errors.Join(err, os.RemoveAll(temp))
	}
	return s, nil
}

// Close removes the worktree, even where the work on it was cancelled.
func (s *Source) Close() error {
	_, err := git(context.Background(), s.repo, "worktree", "remove", "--force", s.Dir)
	return errors.Join(err, os.RemoveAll(s.temp))
}

// Program builds the command image of the release with the host's Go, which
// shows in nothing that image builds.
func (s *Source) Program(ctx context.Context, log io.Writer) (Program, error) {
	out := filepath.Join(s.temp, "image")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", out, "./image")
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.Dir, log, log
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("building the release's own image program: %w", err)
	}
	return Program(out), nil
}

func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_NO_REPLACE_OBJECTS=1", "LC_ALL=C")
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(log.String()))
	}
	return strings.TrimSpace(out.String()), nil
}
