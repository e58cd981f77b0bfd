package main

import (
	"context"
	"errors"

	"holdfast/image/sandbox"
)

var doctorCommand = command{
	run:  runDoctor,
	name: "doctor", args: "",
	summary: "say whether this machine can build, and how to allow it",
	help: `Tries what a build needs of the machine: user namespaces, room on the disk, memory. Each finding that
fails comes with its remedy. Exits with 1 if one does.

  image doctor`,
}

func runDoctor(ctx context.Context, c *call) error {
	if err := c.parse(0, 0); err != nil {
		return err
	}
	b, err := c.builder()
	if err != nil {
		return err
	}
	findings := sandbox.Diagnose(ctx, b.Cache.Dir())
	if err := sandbox.WriteReport(c.stdout, findings); err != nil {
		return err
	}
	for _, f := range findings {
		if !f.OK {
			return errors.New("this machine cannot build as it is; the report says what to change")
		}
	}
	return nil
}
