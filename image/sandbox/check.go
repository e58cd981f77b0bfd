package sandbox

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// probeTimeout bounds Check. Setting up takes a few milliseconds.
const probeTimeout = 30 * time.Second

// Check sets up a sandbox without a command. The error is nil if that works
// here, and mostly a [*ForbiddenError] if it does not.
func Check() error {
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	p := &planner{}
	p.addOwn()
	proc, err := start(ctx, order{Layout: p.steps}, Spec{})
	if err == nil {
		err = proc.Wait()
	}
	return err
}

// settings is what of the system bears on whether a sandbox can be made. A
// switch that the system does not have is "".
type settings struct {
	maxUserNamespaces string // /proc/sys/user/max_user_namespaces
	unprivileged      string // /proc/sys/kernel/unprivileged_userns_clone (Debian, Arch)
	appArmor          string // /proc/sys/kernel/apparmor_restrict_unprivileged_userns (Ubuntu 23.10 and later)
	seccomp           string // Seccomp in /proc/self/status: "2" under a filter
	root              bool
}

func readSettings() settings {
	return settings{
		maxUserNamespaces: readSetting("/proc/sys/user/max_user_namespaces"),
		unprivileged:      readSetting("/proc/sys/kernel/unprivileged_userns_clone"),
		appArmor:          readSetting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
		seccomp:           statusField("Seccomp"),
		root:              os.Geteuid() == 0,
	}
}

func readSetting(name string) string {
	b, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func statusField(name string) string {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return ""
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if value, ok := strings.CutPrefix(s.Text(), name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// ForbiddenError says that the system does not let this sandbox be made.
type ForbiddenError struct {
	Reason string // what stands in the way
	Remedy string // how to allow it
	Err    error  // what was tried, and the system's answer
}

func (e *ForbiddenError) Error() string {
	return fmt.Sprintf("%v: %s; hint: %s", e.Err, e.Reason, e.Remedy)
}

func (e *ForbiddenError) Unwrap() error { return e.Err }

// obstacle is a reason and its remedy.
type obstacle struct{ reason, remedy string }

var (
	obstacleOff = obstacle{"user namespaces are switched off (user.max_user_namespaces = 0)",
		"sudo sysctl -w user.max_user_namespaces=10000"}
	obstacleLimit = obstacle{"no more namespaces may be made now",
		"raise the limits under /proc/sys/user, or end what uses them up"}
	obstacleRootOnly = obstacle{"user namespaces are kept to root (kernel.unprivileged_userns_clone = 0)",
		"sudo sysctl -w kernel.unprivileged_userns_clone=1"}
	obstacleAppArmor = obstacle{"AppArmor keeps programs without a profile from using user namespaces " +
		"(kernel.apparmor_restrict_unprivileged_userns = 1)",
		"sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, " +
			"or an AppArmor profile with the rule \"userns,\" for this program"}
	obstacleFilter = obstacle{"a system call filter forbids namespaces, as in a container",
		"start the container with --security-opt seccomp=unconfined " +
			"--security-opt apparmor=unconfined --security-opt systempaths=unconfined"}
	obstacleProc = obstacle{"a new /proc may not be mounted while parts of the present one are covered, as in a container",
		"start the container with --security-opt systempaths=unconfined"}
	obstacleKernel = obstacle{"this kernel was built without user namespaces",
		"use a kernel with CONFIG_USER_NS"}
	obstacleOld = obstacle{"this kernel is too old",
		"use Linux 5.12 or newer"}
	obstacleOwner = obstacle{"root's power over the files of others does not reach into a sandbox",
		"run as the user who owns them"}
	obstacleUnknown = obstacle{"a security module, a chroot or a container forbids namespaces",
		"run outside of it, or allow user namespaces in its configuration"}
)

// explain adds to an error what the system's settings make of it.
func explain(err error, s settings) error {
	var e *setupError
	if !errors.As(err, &e) {
		return err
	}
	o, ok := diagnose(e.step, e.errno, s)
	if !ok {
		return err
	}
	return &ForbiddenError{Reason: o.reason, Remedy: o.remedy, Err: err}
}

// diagnose judges by the failed step, the system's error number and the
// settings. It returns false for errors that permission has no part in.
func diagnose(step string, errno syscall.Errno, s settings) (obstacle, bool) {
	switch {
	case step == stepMount:
		return obstacleOwner, errno == syscall.EACCES && s.root
	case step == stepOrder || step == stepLimits || step == stepStart:
		return obstacle{}, false
	case errno == syscall.EPERM || errno == syscall.EACCES:
		return diagnoseForbidden(step, s), true
	case errno == syscall.ENOSYS:
		return obstacleOld, true
	case step != stepClone:
		return obstacle{}, false
	case errno == syscall.EINVAL:
		return obstacleKernel, true
	case errno != syscall.ENOSPC && errno != syscall.EUSERS: // namespaces(7), user_namespaces(7)
		return obstacle{}, false
	case s.maxUserNamespaces == "0":
		return obstacleOff, true
	}
	return obstacleLimit, true
}

func diagnoseForbidden(step string, s settings) obstacle {
	switch {
	case s.unprivileged == "0" && !s.root && step == stepClone:
		return obstacleRootOnly
	case s.appArmor == "1" && !s.root:
		return obstacleAppArmor
	case step == stepProc:
		return obstacleProc
	case s.seccomp == "2":
		return obstacleFilter
	}
	return obstacleUnknown
}
