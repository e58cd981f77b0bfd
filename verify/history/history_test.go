package history_test

import (
	"crypto/sha512"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/verify/history"
	"holdfast/verify/pcrs"
)

// A repository is a git repository in a folder of the test's own.
type repository struct {
	t   *testing.T
	dir string
}

func newRepository(t *testing.T) *repository {
	t.Parallel()
	r := &repository{t, t.TempDir()}
	r.git("init", "-q", "--template=", "-b", "main")
	return r
}

func (r *repository) git(args ...string) {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), "git", append([]string{"-C", r.dir, "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false", "-c", "core.fsync=none"}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_SYSTEM="+os.DevNull)
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("git %v: %v: %s", args, err, out)
	}
}

// write puts releases into PCRS.md: "v1.0.0=a" publishes the image a, and a
// minus sign before it revokes.
func (r *repository) write(releases ...string) {
	r.t.Helper()
	f := &pcrs.File{}
	for _, release := range releases {
		version, seed, _ := strings.Cut(release, "=")
		status := pcrs.Active
		if version[0] == '-' {
			version, status = version[1:], pcrs.Revoked
		}
		measured := func(part string) [48]byte { return sha512.Sum384([]byte(seed + part)) }
		f.Releases = append(f.Releases, pcrs.Release{Version: version, Status: status, Images: []pcrs.Image{{
			Architecture: pcrs.X8664, EIF: measured("eif"), Size: 1, PCR0: measured("0"), PCR1: measured("1"), PCR2: measured("2"),
		}}})
	}
	r.put(string(f.Bytes()))
}

func (r *repository) put(content string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, "PCRS.md"), []byte(content), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

func (r *repository) commit(releases ...string) {
	r.t.Helper()
	r.write(releases...)
	r.git("add", "-A")
	r.git("commit", "-q", "--allow-empty", "-m", "m")
}

func (r *repository) check() history.Result {
	r.t.Helper()
	result, err := history.Check(r.t.Context(), r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	return result
}

// found joins what a walk found.
func found(r history.Result) string {
	var out []string
	for _, f := range r.Findings {
		out = append(out, f.Revision+": "+f.Text)
	}
	return strings.Join(out, "\n")
}

func (r *repository) wantNothing() {
	r.t.Helper()
	if got := found(r.check()); got != "" {
		r.t.Errorf("found %s", got)
	}
}

func (r *repository) want(text string) {
	r.t.Helper()
	if got := found(r.check()); !strings.Contains(got, text) {
		r.t.Errorf("found %q, want %q", got, text)
	}
}

func TestAFileThatOnlyGrowsPasses(t *testing.T) {
	r := newRepository(t)
	r.git("commit", "-q", "--allow-empty", "-m", "before there was a file")
	r.commit("v1.0.0=a")
	r.commit("v1.0.0=b") // not yet tagged
	r.git("tag", "v1.0.0")
	r.commit("v1.1.0=c", "v1.0.0=b")
	r.git("tag", "-a", "-m", "annotated", "v1.1.0")
	r.commit("v1.2.0=d", "v1.1.0=c", "-v1.0.0=b")
	r.wantNothing()
	result := r.check()
	if result.Revisions != 4 || result.Releases != 3 || fmt.Sprint(result.Tagged) != "[v1.1.0 v1.0.0]" {
		t.Errorf("got %+v", result)
	}
}

func TestAChangedReleaseIsFound(t *testing.T) {
	r := newRepository(t)
	r.commit("v1.1.0=b", "v1.0.0=a")
	r.commit("v1.1.0=b", "v1.0.0=x")
	r.want("v1.0.0 for x86_64: PCR0 was")
}

func TestAChangeThatWasTakenBackIsFound(t *testing.T) {
	r := newRepository(t)
	r.commit("v1.1.0=b", "v1.0.0=a")
	r.commit("v1.1.0=b", "v1.0.0=x")
	r.commit("v1.1.0=b", "v1.0.0=a")
	if got := len(r.check().Findings); got != 8 { // four parts, there and back
		t.Errorf("got %d findings, want 8:\n%s", got, found(r.check()))
	}
}

func TestATaggedReleaseIsFrozenFromItsTagOn(t *testing.T) {
	r := newRepository(t)
	r.commit("v1.0.0=a")
	r.git("tag", "v1.0.0")
	r.commit("v1.0.0=b")
	r.want("v1.0.0 for x86_64: PCR1 was")
	r.want("the tag v1.0.0: release v1.0.0 for x86_64: PCR0 was")
}

func TestALostReleaseIsFound(t *testing.T) {
	r := newRepository(t)
	r.commit("v1.1.0=b", "v1.0.0=a")
	r.commit("v1.1.0=b")
	r.want("v1.0.0 has vanished")
}

func TestALostFileIsFound(t *testing.T) {
	r := newRepository(t)
	r.commit("v1.1.0=b", "v1.0.0=a")
	r.git("rm", "-q", "PCRS.md")
	r.git("commit", "-q", "-m", "m")
	r.commit("v1.1.0=b", "v1.0.0=x")
	r.want("PCRS.md has vanished")
	r.want("v1.0.0 for x86_64: PCR0 was") // compared with what was before
}

func TestARevivalIsFound(t *testing.T) {
	r := newRepository(t)
	r.commit("v1.1.0=b", "-v1.0.0=a")
	r.commit("v1.1.0=b", "v1.0.0=a")
	r.want("v1.0.0 was revoked and is active")
}

func TestAnUncommittedChangeIsFound(t *testing.T) {
	r := newRepository(t)
	r.commit("v1.1.0=b", "v1.0.0=a")
	r.write("v1.1.0=b", "v1.0.0=x")
	r.want("the working tree: release v1.0.0")
	r.put("")
	r.want("the working tree: PCRS.md:1:")
}

func TestARevisionThatCannotBeReadIsFound(t *testing.T) {
	r := newRepository(t)
	r.commit("v1.0.0=a")
	r.put("hello\n")
	r.git("commit", "-q", "-a", "-m", "m")
	r.commit("v1.0.0=a")
	r.want("PCRS.md:1:")
}

func TestATagOfAnotherBranchIsComparedToo(t *testing.T) {
	r := newRepository(t)
	r.commit("v1.0.0=a")
	r.git("checkout", "-q", "-b", "release")
	r.commit("v1.0.0=x")
	r.git("tag", "v1.0.0")
	r.git("checkout", "-q", "main")
	r.want("the tag v1.0.0: release v1.0.0 for x86_64: PCR0 was")
}

func TestATagWithoutItsEntryIsFound(t *testing.T) {
	r := newRepository(t)
	r.commit("v0.9.0=z")
	r.git("tag", "v1.0.0")
	r.commit("v1.0.0=a", "v0.9.0=z")
	r.want("the tag v1.0.0: does not publish v1.0.0")
}

func TestWhatAMergedBranchDidOnItsWayDoesNotCount(t *testing.T) {
	r := newRepository(t)
	r.commit("v1.1.0=b", "v1.0.0=a")
	r.git("checkout", "-q", "-b", "side")
	r.commit("v1.1.0=b", "v1.0.0=x")
	r.commit("v1.2.0=c", "v1.1.0=b", "v1.0.0=a")
	r.git("checkout", "-q", "main")
	r.git("merge", "-q", "--no-ff", "-m", "m", "side")
	r.wantNothing()
}

func TestAShallowCloneIsRefused(t *testing.T) {
	r := newRepository(t)
	r.commit("v1.0.0=a")
	r.commit("v1.0.0=b")
	clone := filepath.Join(t.TempDir(), "clone")
	r.git("clone", "-q", "--depth", "1", "file://"+r.dir, clone)
	if _, err := history.Check(t.Context(), clone); !errors.Is(err, history.ErrShallow) {
		t.Errorf("got %v", err)
	}
}

func TestWithoutAHistoryThereIsNoResult(t *testing.T) {
	if _, err := history.Check(t.Context(), t.TempDir()); err == nil {
		t.Error("a folder without git passed")
	}
	r := newRepository(t)
	if _, err := history.Check(t.Context(), r.dir); err == nil {
		t.Error("a repository without a commit passed")
	}
	r.git("commit", "-q", "--allow-empty", "-m", "m")
	if _, err := history.Check(t.Context(), r.dir); err == nil {
		t.Error("a history without the file passed")
	}
	r.commit("v1.0.0=a")
	if err := os.Remove(filepath.Join(r.dir, "PCRS.md")); err != nil {
		t.Fatal(err)
	}
	if _, err := history.Check(t.Context(), r.dir); err == nil {
		t.Error("a working tree without the file passed")
	}
}

func TestALinkIsNoFile(t *testing.T) {
	r := newRepository(t)
	r.commit("v1.0.0=a")
	if err := os.Rename(filepath.Join(r.dir, "PCRS.md"), filepath.Join(r.dir, "other.md")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("other.md", filepath.Join(r.dir, "PCRS.md")); err != nil {
		t.Fatal(err)
	}
	r.git("add", "-A")
	r.git("commit", "-q", "-m", "m")
	if _, err := history.Check(t.Context(), r.dir); err == nil || !strings.Contains(err.Error(), "plain file") {
		t.Errorf("got %v", err)
	}
}
