// Package history checks that PCRS.md was only ever added to.
//
// It walks the revisions of the file in a git repository, oldest first, along
// the first parents of HEAD: the path that the published branch itself took.
// From one revision to the next a published release may only be revoked. The
// newest release is still being made until its version is tagged; from the
// tagged commit on it is frozen too, and so is every release below the newest.
//
// Git's history is what its server says it is. A rewritten history that
// contradicts nothing in itself passes; it takes another clone, or a signature,
// to notice it. A shallow clone has no history to check and is refused.
package history

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"holdfast/verify/pcrs"
)

// name of the file, at the root of the repository.
const name = "PCRS.md"

// ErrShallow says that the clone holds only a part of the history.
var ErrShallow = errors.New("the clone is shallow: its history is not whole")

// A Finding is what one revision does that it must not.
type Finding struct {
	Revision string // a commit, "the tag v1.2.3", or "the working tree"
	Text     string
}

// A Result is the outcome of a walk.
type Result struct {
	File      string   // the path of PCRS.md in the working tree
	Revisions int      // of it
	Releases  int      // in the file as it is now
	Tagged    []string // the releases that are tagged
	Findings  []Finding
}

// Check walks the history of the repository that dir lies in, and compares its
// last revision with the file in the working tree. An error means that there is
// no result.
func Check(ctx context.Context, dir string) (Result, error) {
	w := &walk{dir: dir}
	if err := w.open(ctx); err != nil {
		return Result{}, err
	}
	if err := w.revisions(ctx); err != nil {
		return Result{}, err
	}
	if err := w.workingTree(); err != nil {
		return Result{}, err
	}
	if err := w.tags(ctx); err != nil {
		return Result{}, err
	}
	w.result.Releases = len(w.last.Releases)
	return w.result, nil
}

// A walk goes through the revisions.
type walk struct {
	dir    string // the repository's root
	tagged map[string]string
	last   *pcrs.File // as the revision before left it
	result Result
}

// open finds the root and the tags. A tag counts from the commit on that it
// names.
func (w *walk) open(ctx context.Context) error {
	root, err := w.git(ctx, "rev-parse", "--show-toplevel")
	if err != nil {
		return err
	}
	w.dir = strings.TrimSuffix(root, "\n")
	shallow, err := w.git(ctx, "rev-parse", "--is-shallow-repository")
	if err != nil {
		return err
	}
	if strings.TrimSpace(shallow) != "false" {
		return ErrShallow
	}
	// The commit of a tag, annotated or not: the peeled one where there is one.
	list, err := w.git(ctx, "for-each-ref", "--format=%(refname:strip=2) %(objectname) %(*objectname)", "refs/tags/v*")
	if err != nil {
		return err
	}
	w.tagged = map[string]string{}
	for line := range strings.Lines(list) {
		fields := strings.Fields(line)
		w.tagged[fields[0]] = fields[len(fields)-1]
	}
	return nil
}

// revisions compares each revision of the file with the one before.
func (w *walk) revisions(ctx context.Context) error {
	order, err := w.position(ctx)
	if err != nil {
		return err
	}
	touching, err := w.git(ctx, "rev-list", "--first-parent", "--reverse", "HEAD", "--", name)
	if err != nil {
		return err
	}
	for commit := range strings.FieldsSeq(touching) {
		// A release is frozen if its tag's commit comes before this one.
		frozen := func(version string) bool {
			at, ok := order[w.tagged[version]]
			return ok && at < order[commit]
		}
		if err := w.revision(ctx, commit, frozen); err != nil {
			return err
		}
	}
	if w.last == nil {
		return fmt.Errorf("no revision has a %s that can be read", name)
	}
	return nil
}

// position numbers the commits along the first parents.
func (w *walk) position(ctx context.Context) (map[string]int, error) {
	list, err := w.git(ctx, "rev-list", "--first-parent", "--reverse", "HEAD")
	if err != nil {
		return nil, err
	}
	order := map[string]int{}
	for commit := range strings.FieldsSeq(list) {
		order[commit] = len(order) + 1
	}
	return order, nil
}

// revision reads one version of the file and compares it with the last.
func (w *walk) revision(ctx context.Context, commit string, frozen func(string) bool) error {
	blob, err := w.blob(ctx, commit)
	if err != nil {
		return err
	}
	if blob == "" {
		w.find(commit[:12], name+" has vanished")
		return nil
	}
	data, err := w.git(ctx, "cat-file", "blob", blob)
	if err != nil {
		return err
	}
	w.result.Revisions++
	w.succeed(commit[:12], []byte(data), frozen)
	return nil
}

// succeed parses the next version of the file. One that cannot be read is a
// finding, and is compared with nothing.
func (w *walk) succeed(where string, data []byte, frozen func(string) bool) {
	next, err := pcrs.Parse(data)
	if err != nil {
		w.find(where, err.Error())
		return
	}
	if w.last != nil {
		for _, text := range pcrs.Succession(w.last, next, frozen) {
			w.find(where, text)
		}
	}
	w.last = next
}

func (w *walk) find(where, text string) {
	w.result.Findings = append(w.result.Findings, Finding{where, text})
}

// workingTree compares the file that lies there with the last revision.
func (w *walk) workingTree() error {
	w.result.File = filepath.Join(w.dir, name)
	f, err := os.Open(w.result.File)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, pcrs.MaxSize+1))
	if err != nil {
		return err
	}
	w.succeed("the working tree", data, func(version string) bool { return w.tagged[version] != "" })
	return nil
}

// tags compares every tagged release with what its tag published, wherever
// that lies.
func (w *walk) tags(ctx context.Context) error {
	for _, r := range w.last.Releases {
		commit, ok := w.tagged[r.Version]
		if !ok {
			continue
		}
		w.result.Tagged = append(w.result.Tagged, r.Version)
		where := "the tag " + r.Version
		blob, err := w.blob(ctx, commit)
		if err != nil {
			return err
		}
		if blob == "" {
			w.find(where, "has no "+name)
			continue
		}
		data, err := w.git(ctx, "cat-file", "blob", blob)
		if err != nil {
			return err
		}
		then, err := pcrs.Parse([]byte(data))
		if err != nil {
			w.find(where, err.Error())
			continue
		}
		w.compareTag(where, r, then)
	}
	return nil
}

// compareTag looks for a release in the file of its own tag.
func (w *walk) compareTag(where string, now pcrs.Release, then *pcrs.File) {
	for _, r := range then.Releases {
		if r.Version != now.Version {
			continue
		}
		was, is := &pcrs.File{Releases: []pcrs.Release{r}}, &pcrs.File{Releases: []pcrs.Release{now}}
		for _, text := range pcrs.Succession(was, is, func(string) bool { return true }) {
			w.find(where, text)
		}
		return
	}
	w.find(where, "does not publish "+now.Version)
}

// blob returns the object of the file at a commit, or "".
func (w *walk) blob(ctx context.Context, commit string) (string, error) {
	out, err := w.git(ctx, "ls-tree", "--full-tree", commit, "--", name)
	fields := strings.Fields(out)
	if err != nil || len(fields) == 0 {
		return "", err
	}
	if len(fields) != 4 || fields[0] != "100644" || fields[1] != "blob" {
		return "", fmt.Errorf("%s at %s: want a plain file, got %q", name, commit, strings.TrimSpace(out))
	}
	return fields[2], nil
}

// maxOutput bounds what git may answer: the list of commits is 41 bytes each.
const maxOutput = 64 << 20

// git runs git without what could show another history than the repository's.
func (w *walk) git(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", w.dir}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_NO_REPLACE_OBJECTS=1", "GIT_GRAFT_FILE="+os.DevNull, "LC_ALL=C")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	if stdout.Len() > maxOutput {
		return "", fmt.Errorf("git %s: more than %d bytes", args[0], maxOutput)
	}
	return stdout.String(), nil
}
