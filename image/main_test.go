package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"holdfast/image/cpio"
	"holdfast/image/eif"
	"holdfast/image/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.Init()
	testscript.Main(m, map[string]func(){
		"image": func() { os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr)) },
	})
}

func TestTheCommands(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOLDFAST_CACHE", filepath.Join(env.WorkDir, "cache"))
			return writeSamples(env.WorkDir)
		},
	})
}

// sample describes an image that is whole but for its kernel, which has the magic and nothing else.
func sample() *eif.Image {
	kernel := make([]byte, 4096)
	copy(kernel[0x1fe:], "\x55\xaa")
	copy(kernel[0x202:], "HdrS")
	kernel[0x211] = 1
	ramdisk := func(tree ...cpio.Entry) []byte {
		data, err := cpio.Marshal(tree)
		if err != nil {
			panic(err)
		}
		return data
	}
	return &eif.Image{
		Architecture: eif.X86_64,
		Kernel:       kernel,
		CommandLine:  "console=ttyS0",
		Ramdisks: [][]byte{
			ramdisk(cpio.Entry{Path: "init", Kind: cpio.File, Mode: 0o755, Data: []byte("the init")}),
			ramdisk(cpio.Entry{Path: "app/enclave", Kind: cpio.File, Mode: 0o755, Data: []byte("the app")}),
		},
		Metadata: eif.Metadata{
			ImageName: "sample", ImageVersion: "1",
			BuildMetadata: eif.BuildMetadata{
				BuildTime: eif.ReproducibleBuildTime, BuildTool: "x", BuildToolVersion: "0",
				OperatingSystem: "Linux", KernelVersion: "6.12.0",
			},
		},
	}
}

// writeSamples writes a sound image and others that each differ from it in one way.
func writeSamples(dir string) error {
	var sound bytes.Buffer
	if _, err := sample().WriteTo(&sound); err != nil {
		return err
	}
	moved := sample()
	moved.Ramdisks[1] = bytes.Replace(moved.Ramdisks[1], []byte("the app"), []byte("the apt"), 1)
	var other bytes.Buffer
	if _, err := moved.WriteTo(&other); err != nil {
		return err
	}
	flipped := bytes.Clone(sound.Bytes())
	flipped[len(flipped)/2] ^= 1
	for name, data := range map[string][]byte{
		"sound.eif":     sound.Bytes(),
		"other.eif":     other.Bytes(),
		"truncated.eif": sound.Bytes()[:sound.Len()-1],
		"padded.eif":    append(bytes.Clone(sound.Bytes()), 0),
		"flipped.eif":   flipped,
		"empty.eif":     nil,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}
