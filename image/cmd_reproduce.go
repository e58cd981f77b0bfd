package main

import (
	"bytes"
	"context"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"holdfast/image/builder"
	"holdfast/image/eif"
)

var reproduceCommand = command{
	run:  runReproduce,
	name: "reproduce", args: "",
	summary: "build the image and verify twice under different conditions and compare",
	help: `Copies the checkout to two directories and builds everything twice, from fetched inputs to the image,
with nothing cached between the two: by other users, with other umask, TZ, LANG, HOME, PATH, GOFLAGS, host
name and number of processors. Where the two images differ it names the section, the file and the byte, and
exits with 6, as it does where the two programs verify differ. The downloads, which are checked by hash, are
shared.

As root, the second build runs as another user of the machine; as an ordinary user, as another user of a
user namespace.

  image reproduce`,
}

// A condition is one set of circumstances to build under.
type condition struct {
	dir      string   // below the temporary directory
	env      []string // the whole environment, PATH, HOME and caches apart
	path     string   // appended to PATH
	umask    int
	uid      int // as seen inside the build's user namespace
	hostname string
	cpus     int // zero means all
}

func conditions() []condition {
	return []condition{
		{
			dir: "a", env: []string{"TZ=Etc/GMT+12", "LANG=C", "LC_ALL=C", "GOFLAGS="},
			umask: 0o022, uid: 0, hostname: "first",
		},
		{
			dir: "b/in a much longer path", env: []string{
				"TZ=Etc/GMT-14", "LANG=et_EE.UTF-8", "LC_ALL=et_EE.UTF-8", "GOFLAGS=-v", "GOAMD64=v3",
				"CGO_ENABLED=1", "SOURCE_DATE_EPOCH=1234567890", "KBUILD_BUILD_USER=captured", "CAPTURE_ENVIRONMENT=yes",
			},
			path: "/i/capture/the/path", umask: 0o077, uid: 4321, hostname: "i-capture-the-hostname", cpus: 1,
		},
	}
}

func runReproduce(ctx context.Context, c *call) error {
	if err := c.parse(0, 0); err != nil {
		return err
	}
	b, err := c.builder()
	if err != nil {
		return err
	}
	defer b.Progress.Close()
	if err := b.FetchSets(ctx, nil); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "holdfast-reproduce-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	// Both copies are made first: the checkout may change while the first is built.
	for _, cond := range conditions() {
		if err := copyCheckout(ctx, b.Checkout, filepath.Join(tmp, cond.dir, "src")); err != nil {
			return err
		}
	}
	var built [2]products
	for i, cond := range conditions() {
		fmt.Fprintf(c.stderr, "build %d: in %s, umask %03o, user %d, host %s, %s\n", i+1, cond.dir, cond.umask, cond.uid, cond.hostname, strings.Join(cond.env, " "))
		built[i], err = buildUnder(ctx, c, b, tmp, cond)
		if err != nil {
			return fmt.Errorf("build %d: %w", i+1, err)
		}
	}
	return compareProducts(c.stdout, built)
}

// products are what one build gives.
type products struct{ eif, verify []byte }

// compareProducts says whether two builds gave the same, and where they did not.
func compareProducts(w io.Writer, built [2]products) error {
	for i, p := range built {
		fmt.Fprintf(w, "build %d  EIF %x\n         verify %x\n", i+1, sha512.Sum384(p.eif), sha512.Sum384(p.verify))
	}
	d, err := eif.Compare(built[0].eif, built[1].eif)
	if err != nil {
		return err
	}
	if d != nil {
		fmt.Fprintln(w, d)
	}
	same := bytes.Equal(built[0].verify, built[1].verify)
	if !same {
		fmt.Fprintln(w, "the programs verify differ")
	}
	if d != nil || !same {
		return errMeasurements
	}
	fmt.Fprintln(w, "the two are the same, byte for byte")
	return nil
}

// buildUnder builds a copy of the checkout under a condition and returns what came out.
func buildUnder(ctx context.Context, c *call, b *builder.Builder, tmp string, cond condition) (products, error) {
	home := filepath.Join(tmp, cond.dir, "home")
	src := filepath.Join(tmp, cond.dir, "src")
	if err := os.MkdirAll(filepath.Join(home, "cache"), 0o755); err != nil {
		return products{}, err
	}
	if err := linkTree(filepath.Join(b.Cache.Dir(), "objects"), filepath.Join(home, "cache", "objects")); err != nil {
		return products{}, err
	}
	modules, err := b.Modules(ctx)
	if err != nil {
		return products{}, err
	}
	if err := linkTree(modules, filepath.Join(home, "proxy")); err != nil {
		return products{}, err
	}
	// The module cache has the modules, but only a proxy reaches the checksum database where the
	// network is closed to all else.
	proxies, err := b.GoEnv(ctx, "GOPROXY")
	if err != nil {
		return products{}, err
	}
	owner := otherUser(cond)
	if err := chownTree(filepath.Join(tmp, strings.Split(cond.dir, "/")[0]), owner); err != nil {
		return products{}, err
	}
	env := append([]string{
		"HOME=" + home, "HOLDFAST_CACHE=" + filepath.Join(home, "cache"), "TMPDIR=" + home,
		"PATH=" + os.Getenv("PATH") + ":" + cond.path,
		"GOCACHE=" + filepath.Join(home, "gocache"), "GOMODCACHE=" + filepath.Join(home, "gomod"),
		"GOPROXY=file://" + filepath.Join(home, "proxy") + "," + proxies,
	}, cond.env...)
	defer removeModules(home)
	script := []string{"go build -o " + shellQuote(filepath.Join(home, "image")) + " ./image",
		shellQuote(filepath.Join(home, "image")) + " build -unpublished -o " + shellQuote(filepath.Join(home, "out.eif")) +
			" -verify " + shellQuote(filepath.Join(home, "verify"))}
	cmd := varied(ctx, cond, owner, strings.Join(script, " && "))
	cmd.Dir, cmd.Env, cmd.Stderr = src, env, c.stderr
	if err := cmd.Run(); err != nil {
		return products{}, err
	}
	image, err := os.ReadFile(filepath.Join(home, "out.eif"))
	if err != nil {
		return products{}, err
	}
	verify, err := os.ReadFile(filepath.Join(home, "verify"))
	return products{image, verify}, err
}

// varyArgument is argv[0] of the process that sets a condition up before it becomes the build.
const varyArgument = "holdfast-vary"

// otherUser is the host's user that a condition builds as: root can become another, others cannot.
func otherUser(cond condition) int {
	if os.Getuid() == 0 && cond.uid != 0 {
		return 65534
	}
	return os.Getuid()
}

// varied returns a command that runs a shell script under a condition, in a user and a UTS namespace
// of its own.
func varied(ctx context.Context, cond condition, owner int, script string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = []string{varyArgument, cond.hostname, fmt.Sprint(cond.umask), fmt.Sprint(cond.cpus), script}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWUTS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: cond.uid, HostID: owner, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: cond.uid, HostID: ownerGroup(owner), Size: 1}},
		Credential:  &syscall.Credential{Uid: uint32(cond.uid), Gid: uint32(cond.uid), NoSetGroups: true},
		AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN},
		Pdeathsig:   syscall.SIGKILL,
	}
	return cmd
}

func ownerGroup(owner int) int {
	if owner == os.Getuid() {
		return os.Getgid()
	}
	return owner
}

// vary is the process that varied starts: it sets host name, umask and processors, then becomes a shell.
func vary(args []string) error {
	var umask, cpus int
	if len(args) != 5 {
		return errors.New("want a host name, a umask, a number of processors and a script")
	}
	if _, err := fmt.Sscan(args[2], &umask); err != nil {
		return err
	}
	if _, err := fmt.Sscan(args[3], &cpus); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(args[1])); err != nil {
		return fmt.Errorf("setting the host name: %w", err)
	}
	unix.Umask(umask)
	if cpus > 0 {
		var set unix.CPUSet
		for i := range cpus {
			set.Set(i)
		}
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			return fmt.Errorf("using %d processors: %w", cpus, err)
		}
	}
	return unix.Exec("/bin/sh", []string{"sh", "-c", args[4]}, os.Environ())
}

// copyCheckout copies the files of a checkout that git tracks, or would.
func copyCheckout(ctx context.Context, from, to string) error {
	var list bytes.Buffer
	cmd := exec.CommandContext(ctx, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir, cmd.Stdout, cmd.Stderr = from, &list, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("listing the checkout's files: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(list.String(), "\x00"), "\x00") {
		data, err := os.ReadFile(filepath.Join(from, name))
		if errors.Is(err, fs.ErrNotExist) { // deleted, but not yet in git
			continue
		}
		if err != nil {
			return err
		}
		path := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// linkTree gives the files of a tree a second name, by links where the file system allows it.
func linkTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		if os.Link(path, target) == nil {
			return nil
		}
		return copyFile(path, target)
	})
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// chownTree gives a tree to a user. Files that are linked into it from the cache stay whose they are.
func chownTree(dir string, owner int) error {
	if owner == os.Getuid() {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() && linked(path) {
			return nil
		}
		return os.Lchown(path, owner, ownerGroup(owner))
	})
}

func linked(path string) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil && st.Nlink > 1
}

// removeModules removes a Go module cache, whose directories are read-only.
func removeModules(home string) {
	filepath.WalkDir(filepath.Join(home, "gomod"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			os.Chmod(path, 0o755)
		}
		return nil
	})
}

func shellQuote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
