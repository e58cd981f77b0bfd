package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"holdfast/image/builder"
	"holdfast/image/sandbox"
)

var envCommand = command{
	run:  runEnv,
	name: "env", args: "[toolchain | devnet]",
	summary: "prepare what compiling and testing need, and print it as shell exports",
	help: `Prints shell exports that make the host's go command compile C with the sandbox's compiler, after
fetching and unpacking that compiler. Without the argument "toolchain" it prepares what the tests need as
well: the kernel's configuration, the emulator, the test images, a browser and DynamoDB Local; with the
argument "devnet" the programs of a test chain too.

  eval "$(bin/image env toolchain)" && go vet ./...
  eval "$(bin/image env)" && go test ./...`,
}

func runEnv(ctx context.Context, c *call) error {
	if err := c.parse(0, 1); err != nil {
		return err
	}
	what := strings.Join(c.args, "")
	if what != "" && what != "toolchain" && what != "devnet" {
		return usagef("got argument %q, want toolchain, devnet or nothing", what)
	}
	b, err := c.builder()
	if err != nil {
		return err
	}
	defer b.Progress.Close()
	compiler, err := prepareCompiler(ctx, b)
	if err != nil {
		return err
	}
	for _, v := range compiler {
		export(c.stdout, v.name, v.value)
	}
	if what == "toolchain" {
		return nil
	}
	if err := exportTests(ctx, b, c.stdout); err != nil || what == "" {
		return err
	}
	return exportDevnet(ctx, b, compiler, c.stdout)
}

type variable struct{ name, value string }

// prepareCompiler unpacks the toolchain and returns what makes the host's go command compile C by it.
func prepareCompiler(ctx context.Context, b *builder.Builder) ([]variable, error) {
	root, err := b.Root(ctx, "toolchain")
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if strings.ContainsAny(self+root, `'"$\`+"`") {
		return nil, fmt.Errorf("quotes in a path: %s or %s (hint: move the checkout, or set HOLDFAST_CACHE)", self, root)
	}
	return []variable{
		{"CGO_ENABLED", "1"},
		{"CGO_CFLAGS", "-O2 -D__BLST_PORTABLE__"},
		{"CGO_LDFLAGS", ""},
		{"CC", fmt.Sprintf("'%s' cc '%s'", self, root)}, // the go command splits it, and knows quotes
		{"HOLDFAST_TOOLCHAIN_ROOT", root},
	}, nil
}

func exportTests(ctx context.Context, b *builder.Builder, w io.Writer) error {
	k, err := b.Kernel(ctx)
	if err != nil {
		return err
	}
	emulator, err := b.Emulator(ctx)
	if err != nil {
		return err
	}
	flood, err := b.FloodTest(ctx)
	if err != nil {
		return err
	}
	chromium, err := exportChromium(ctx, b)
	if err != nil {
		return err
	}
	dynamo, err := b.DynamoDBLocal(ctx)
	if err != nil {
		return err
	}
	export(w, "HOLDFAST_DYNAMODB_ROOT", dynamo.Root)
	export(w, "HOLDFAST_DYNAMODB_DIR", dynamo.Dir)
	export(w, "HOLDFAST_CHROMIUM", chromium)
	export(w, "HOLDFAST_KERNEL_CONFIG", k.Config)
	export(w, "HOLDFAST_QEMU_ROOT", emulator.Root)
	export(w, "HOLDFAST_QEMU_DIR", emulator.QEMU)
	export(w, "HOLDFAST_EIF", filepath.Join(b.Checkout, "build", "holdfast-x86_64.eif"))
	export(w, "HOLDFAST_FLOOD_EIF", flood)
	export(w, "HOLDFAST_BIN", filepath.Join(b.Checkout, "bin"))
	return nil
}

func exportDevnet(ctx context.Context, b *builder.Builder, compiler []variable, w io.Writer) error {
	var cgo []string
	for _, v := range compiler {
		cgo = append(cgo, v.name+"="+v.value)
	}
	devnet, err := b.Devnet(ctx, cgo)
	if err != nil {
		return err
	}
	export(w, "HOLDFAST_DEVNET_DIR", devnet)
	return nil
}

func export(w io.Writer, name, value string) {
	fmt.Fprintf(w, "export %s='%s'\n", name, strings.ReplaceAll(value, "'", `'\''`))
}

var emulatorCommand = command{
	run:  runEmulator,
	name: "emulator", args: "",
	summary: "build QEMU with its nitro-enclave machine, for parent emulate",
	help: `Builds QEMU from locked source in the sandbox, unless the cache has it, and prints two directories: the
root that it runs in, and its own.

  image emulator`,
}

func runEmulator(ctx context.Context, c *call) error {
	if err := c.parse(0, 0); err != nil {
		return err
	}
	b, err := c.builder()
	if err != nil {
		return err
	}
	defer b.Progress.Close()
	e, err := b.Emulator(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.stdout, "%s\n%s\n", e.Root, e.QEMU)
	return nil
}

var ccCommand = command{
	run:  runCC,
	name: "cc", args: "ROOT [gcc's arguments]",
	summary: "run the sandbox's C compiler on the host's files; for CC",
	help: `Runs gcc from the unpacked toolchain ROOT, with the host's files at their own paths. 'image env' prints a
CC that calls it.`,
}

func runCC(_ context.Context, c *call) error {
	if len(c.args) == 0 {
		return usagef("got no toolchain root, want: image cc ROOT [gcc's arguments]")
	}
	os.Exit(sandbox.CompilerMain(c.args[1:], c.args[0]))
	return nil
}
