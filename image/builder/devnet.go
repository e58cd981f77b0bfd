package builder

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// devnetPeers are the programs of the chain that the signer is tested on, by the module that requires
// their exact versions.
const devnetPeers = "internal/devnet/peers"

var devnetPrograms = []string{
	"github.com/ethereum/go-ethereum/cmd/geth",
	"github.com/prysmaticlabs/prysm/v5/cmd/beacon-chain",
	"github.com/prysmaticlabs/prysm/v5/cmd/prysmctl",
	"github.com/prysmaticlabs/prysm/v5/cmd/validator",
}

// Static, as all our programs that link C are: what runs them need not have the compiler's C library.
var devnetFlags = []string{"-mod=readonly", "-trimpath", "-buildvcs=false", "-tags=netgo,osusergo"}

const devnetLinkFlags = `-s -w '-extldflags=-static "-L%s"'`

// noCxx is an archive without members, under the name of the C++ library. Prysm's second BLS library is
// C++ and asks for it by habit: it is compiled to need none of it, and the toolchain has no C++. Were it
// to need something after all, linking would fail.
const (
	noCxxName = "libstdc++.a"
	noCxx     = "!<arch>\n"
)

// Devnet builds geth and Prysm and returns the directory of their programs. Nothing of them goes into an
// image, so the host's go command builds them, by the compiler that cgo names: variables for cgo, as
// NAME=value.
func (b *Builder) Devnet(ctx context.Context, cgo []string) (string, error) {
	key, err := b.devnetKey(ctx)
	if err != nil {
		return "", err
	}
	dir, hit, err := b.Cache.Build(ctx, "devnet", key, func(ctx context.Context, dir string) error {
		stage := b.Progress.Stage("devnet")
		if err := b.buildDevnet(ctx, cgo, dir); err != nil {
			return fmt.Errorf("building geth and Prysm: %w", err)
		}
		stage.Done("geth and Prysm")
		return nil
	})
	if hit {
		b.Progress.Stage("devnet").Cached("geth and Prysm")
	}
	return dir, err
}

func (b *Builder) buildDevnet(ctx context.Context, cgo []string, dir string) error {
	libraries, err := os.MkdirTemp(filepath.Join(b.Cache.Dir(), "tmp"), "devnet-libraries-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(libraries)
	if err := os.WriteFile(filepath.Join(libraries, noCxxName), []byte(noCxx), 0o644); err != nil {
		return err
	}
	args := append([]string{"build", fmt.Sprintf("-p=%d", b.jobs()), "-ldflags=" + fmt.Sprintf(devnetLinkFlags, libraries)}, devnetFlags...)
	args = append(append(args, "-o", dir+string(filepath.Separator)), devnetPrograms...)
	_, err = goIn(ctx, filepath.Join(b.Checkout, devnetPeers), cgo, args...)
	return err
}

// devnetKey hashes what the peers are built from.
func (b *Builder) devnetKey(ctx context.Context) (string, error) {
	toolchain, err := b.set("toolchain")
	if err != nil {
		return "", err
	}
	inputs := append(slices.Concat(devnetPrograms, devnetFlags), devnetLinkFlags, noCxx, toolchain.Digest())
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join(b.Checkout, devnetPeers, name))
		if err != nil {
			return "", err
		}
		inputs = append(inputs, string(data))
	}
	version, err := goIn(ctx, filepath.Join(b.Checkout, devnetPeers), nil, "env", "GOVERSION")
	if err != nil {
		return "", err
	}
	return inputKey(append(inputs, version)...), nil
}
