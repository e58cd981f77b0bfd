package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"holdfast/image/debian"
	"holdfast/image/kernel/patch"
	"holdfast/image/progress"
	"holdfast/image/sandbox"
)

// A Recipe says what to build from, and where to. The result depends on the files in Root and
// SourceDeb and on this package's Inputs, and on nothing else.
type Recipe struct {
	Root      string          // unpacked toolchain
	SourceDeb string          // Debian's linux-source package of the release that the patches fit
	Out       string          // existing directory that gets "bzImage" and "config"
	Jobs      int             // compilers at once; less than one means one
	Progress  *progress.Stage // counts the steps of make; nil is silent
}

// timestamp is the build's time: the kernel prints it in its version.
const timestamp = "Thu Jan  1 00:00:00 UTC 1970"

// environment of every command of the build, beyond the sandbox's own.
var environment = []string{
	"KBUILD_BUILD_TIMESTAMP=" + timestamp,
	"KBUILD_BUILD_USER=build",
	"KBUILD_BUILD_HOST=build",
	"KBUILD_BUILD_VERSION=1",
	"LOCALVERSION=", // set, though empty: else make asks the version control
}

// makeArguments of every run of make. The paths inside the sandbox are fixed, and the prefix map keeps
// them out of the result all the same.
var makeArguments = []string{"ARCH=x86_64", "KCFLAGS=-ffile-prefix-map=" + treeDir + "/=", "KAFLAGS=-ffile-prefix-map=" + treeDir + "/="}

// Where things lie in the sandbox.
const (
	buildDir = "/build"
	treeDir  = buildDir + "/linux"
)

// wholeBuild is how many steps make announced in the build of this configuration, for the progress
// display only.
const wholeBuild = 1561

// Build builds the kernel. It leaves Out/bzImage and Out/config, or an error and neither of them. The
// sources are unpacked beside Out, half a gigabyte, and removed afterwards.
func Build(ctx context.Context, r Recipe) error {
	return r.do(ctx, (*build).prepare, (*build).checkReviewed, (*build).compile, (*build).checkReviewed, (*build).store)
}

// Resolve returns the .config that the fragments come to with this toolchain and source. It holds it to
// the fragments and the invariants, not to config/resolved.config: it is how that file is made.
func Resolve(ctx context.Context, r Recipe) (config []byte, err error) {
	err = r.do(ctx, (*build).prepare, func(b *build, _ context.Context) error {
		config, err = b.config()
		return err
	})
	return config, err
}

// do runs steps in a temporary directory beside Out.
func (r Recipe) do(ctx context.Context, steps ...func(*build, context.Context) error) (err error) {
	work, err := os.MkdirTemp(filepath.Dir(filepath.Clean(r.Out)), "kernel-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	b := &build{Recipe: r, work: work}
	for _, step := range steps {
		if err := step(b, ctx); err != nil {
			return err
		}
	}
	return nil
}

// build is one run of a recipe.
type build struct {
	Recipe
	work string // the host's directory that is /build in the sandbox
}

// prepare makes a patched and configured tree.
func (b *build) prepare(ctx context.Context) error {
	if err := b.checkTimestamp(ctx); err != nil {
		return fmt.Errorf("checking the build's time: %w", err)
	}
	if err := b.unpack(ctx); err != nil {
		return fmt.Errorf("unpacking the source: %w", err)
	}
	if err := b.patch(); err != nil {
		return fmt.Errorf("patching the source: %w", err)
	}
	if err := b.configure(ctx); err != nil {
		return fmt.Errorf("configuring: %w", err)
	}
	return nil
}

func (b *build) path(name ...string) string {
	return filepath.Join(append([]string{b.work}, name...)...)
}

// run runs a command in the sandbox. Its output goes to out; an error carries the end of it.
func (b *build) run(ctx context.Context, out io.Writer, args ...string) error {
	var last tail
	w := io.MultiWriter(&last, out)
	err := sandbox.Run(ctx, sandbox.Spec{
		Root:   b.Root,
		Binds:  []sandbox.Bind{{Source: b.work, Target: buildDir, Writable: true}},
		Dir:    buildDir,
		Env:    environment,
		Args:   args,
		Stdout: w,
		Stderr: w,
	})
	if err != nil {
		return fmt.Errorf("%w\n%s", err, last.String())
	}
	return nil
}

// checkTimestamp makes sure that the sandbox's date reads the timestamp as we do. The kernel's build
// ignores one that it cannot read, and stamps the wall clock into its ramdisk instead.
func (b *build) checkTimestamp(ctx context.Context) error {
	var out bytes.Buffer
	if err := b.run(ctx, &out, "date", "-d", timestamp, "+%s"); err != nil {
		return err
	}
	if got := strings.TrimSpace(out.String()); got != "0" {
		return fmt.Errorf("date reads %q as second %q, want 0", timestamp, got)
	}
	return nil
}

// unread are patterns of files in the source that no step of this build reads: two thirds of them. One
// that were needed after all would be missed by the compiler, loudly.
var unread = []string{
	"*/Documentation/*/*", "*/arch/[!x]*/*.[chS]", "*/arch/xtensa/*.[chS]", "*/tools/testing/*", "*/tools/perf/*",
	"*/drivers/gpu/*.[ch]", "*/drivers/media/*.[ch]", "*/drivers/net/*/*.[ch]", "*/drivers/staging/*.[ch]",
	"*/sound/*.[ch]", "*/*.dts", "*/*.dtsi",
}

// unpack puts the source in the tree, without what is not read.
func (b *build) unpack(ctx context.Context) error {
	if err := debian.Unpack(ctx, []string{b.SourceDeb}, b.path("deb")); err != nil {
		return err
	}
	tars, err := filepath.Glob(b.path("deb", "usr", "src", "linux-source-*.tar.xz"))
	if err != nil || len(tars) != 1 {
		return fmt.Errorf("%s holds %d source archives, want 1", b.SourceDeb, len(tars))
	}
	if err := os.Rename(tars[0], b.path("linux.tar.xz")); err != nil {
		return err
	}
	if err := os.Mkdir(b.path("linux"), 0o755); err != nil {
		return err
	}
	args := []string{"tar", "-xJf", buildDir + "/linux.tar.xz", "-C", treeDir, "--strip-components=1", "--no-same-owner"}
	for _, pattern := range unread {
		args = append(args, "--exclude="+pattern)
	}
	err = b.run(ctx, io.Discard, args...)
	return errors.Join(err, os.Remove(b.path("linux.tar.xz")), os.RemoveAll(b.path("deb")))
}

func (b *build) patch() error {
	for _, name := range patches() {
		if err := patch.ApplyTree(b.path("linux"), mustRead(name)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// configure writes the configuration and holds it to the fragments and the invariants.
func (b *build) configure(ctx context.Context) error {
	if err := os.WriteFile(b.path("fragment.config"), fragment(), 0o644); err != nil {
		return err
	}
	if err := b.make(ctx, io.Discard, "KCONFIG_ALLCONFIG="+buildDir+"/fragment.config", "allnoconfig"); err != nil {
		return err
	}
	config, err := b.config()
	if err != nil {
		return err
	}
	return errors.Join(checkGranted(fragment(), config), CheckConfig(config))
}

func (b *build) config() ([]byte, error) { return os.ReadFile(b.path("linux", ".config")) }

// checkReviewed holds the configuration to the one that reviewers have read. It does so before the
// compiler runs, and after, since make may ask the configuration program once more.
func (b *build) checkReviewed(context.Context) error {
	config, err := b.config()
	if err != nil {
		return err
	}
	return checkSame(mustRead(resolved), config)
}

func (b *build) compile(ctx context.Context) error {
	steps := counter{update: func(n int64) { b.Progress.Update(n, max(n, wholeBuild), "steps") }}
	if err := b.make(ctx, &steps, fmt.Sprintf("-j%d", max(b.Jobs, 1)), "bzImage"); err != nil {
		return fmt.Errorf("compiling: %w", err)
	}
	return nil
}

func (b *build) make(ctx context.Context, out io.Writer, args ...string) error {
	return b.run(ctx, out, append(append([]string{"make", "-C", treeDir}, makeArguments...), args...)...)
}

func (b *build) store(context.Context) error {
	config, err := b.config()
	if err != nil {
		return err
	}
	image, err := os.ReadFile(b.path("linux", "arch", "x86", "boot", "bzImage"))
	if err != nil {
		return err
	}
	if err := checkImage(image); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(b.Out, "config"), config, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(b.Out, "bzImage"), image, 0o644)
}

// maxImage bounds the kernel, in bytes: a configuration that grew past it holds something that nobody
// meant to add.
const maxImage = 6 << 20

// checkImage makes sure that the image is one that Nitro's loader takes, by the magic at 0x202 of the
// Linux boot protocol (Documentation/arch/x86/boot.rst), and is small.
func checkImage(image []byte) error {
	if len(image) < 0x206 || string(image[0x202:0x206]) != "HdrS" {
		return fmt.Errorf("bzImage of %d bytes lacks the boot protocol's magic", len(image))
	}
	if len(image) > maxImage {
		return fmt.Errorf("bzImage has %d bytes, want at most %d", len(image), maxImage)
	}
	return nil
}
