package main

import (
	"context"
	"path/filepath"
	"strings"

	"holdfast/image/debian"
)

var lockCommand = command{
	run:  runLock,
	name: "lock", args: "update | check",
	summary: "resolve the pinned packages afresh, or check the lock files",
	help: `'lock update' resolves the sets that image/lock/request.json asks for from the signed package indices of
the mirrors, and rewrites image/lock/*.json: all of them, or none. 'lock check' reads the lock files and says
what is wrong with them.

  image lock update
  image lock -only kernel update
  image lock check`,
}

func runLock(ctx context.Context, c *call) error {
	expired := c.flags.Bool("allow-expired", false, "accept an index whose Valid-Until has passed; a mirror could be holding back newer packages")
	only := c.flags.String("only", "", "update only these `sets`, separated by commas")
	if err := c.parse(1, 1); err != nil {
		return err
	}
	b, err := c.builder()
	if err != nil {
		return err
	}
	defer b.Progress.Close()
	switch c.args[0] {
	case "update":
		return debian.Update(ctx, debian.UpdateOptions{
			LockDir:  filepath.Join(b.Checkout, "image", "lock"),
			Cache:    b.Cache,
			Mirrors:  b.Mirrors,
			Progress: b.Progress,
			Summary:  c.stdout,

			AllowExpired: *expired,
			Only:         strings.FieldsFunc(*only, func(r rune) bool { return r == ',' }),
		})
	case "check":
		return b.CheckLocks()
	}
	return usagef("got %q, want update or check", c.args[0])
}

var fetchCommand = command{
	run:  runFetch,
	name: "fetch", args: "[SET…]",
	summary: "fetch the pinned inputs into the cache, to build offline later",
	help: `Fetches the files of the named sets, or of all: from the cache, the mirrors, and then the Debian snapshot
archive. Every file's SHA-256 is checked.

  image fetch
  image fetch toolchain kernel`,
}

func runFetch(ctx context.Context, c *call) error {
	if err := c.parse(0, 100); err != nil {
		return err
	}
	b, err := c.builder()
	if err != nil {
		return err
	}
	defer b.Progress.Close()
	return b.FetchSets(ctx, c.args)
}
