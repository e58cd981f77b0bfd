package sandbox_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"holdfast/image/sandbox"
)

func TestASandboxCanBeMadeHere(t *testing.T) {
	must(t, sandbox.Check())
}

// The kernel counts user namespaces per user namespace, so that the switch can
// be thrown for real in one of our own.
func TestCheckSaysWhenUserNamespacesAreSwitchedOff(t *testing.T) {
	var out bytes.Buffer
	cmd := helper(t, "forbid-and-check")
	cmd.Stdout = &out
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
	must(t, cmd.Run())
	for _, want := range []string{
		"clone: ", "no space left on device", "user.max_user_namespaces = 0",
		"hint: sudo sysctl -w user.max_user_namespaces=10000",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("got %q, want it to say %q", out.String(), want)
		}
	}
}

func TestRootIsToldThatOthersFilesStayTheirs(t *testing.T) {
	if os.Geteuid() != 0 {
		return // others' files are out of an ordinary user's reach anyway
	}
	closed := publicDir(t, ordinaryUser)
	must(t, os.Mkdir(filepath.Join(closed, "src"), 0o755))
	must(t, os.Chmod(closed, 0o700))
	err := sandbox.Run(context.Background(), withBind(minimalRoot(t), sandbox.Bind{Source: closed + "/src", Target: "/src"}))
	var forbidden *sandbox.ForbiddenError
	if !errors.As(err, &forbidden) || !strings.Contains(err.Error(), "hint: run as the user who owns them") {
		t.Errorf("got %v, want the hint to run as the owner", err)
	}
}
