package sandbox

import (
	"errors"
	"strings"
	"syscall"
	"testing"
)

func TestTheObstacleIsNamed(t *testing.T) {
	open := settings{maxUserNamespaces: "96365", seccomp: "0"}
	for name, c := range map[string]struct {
		step  string
		errno syscall.Errno
		set   settings
		want  obstacle
	}{
		"switched off":            {stepClone, syscall.ENOSPC, settings{maxUserNamespaces: "0"}, obstacleOff},
		"switched off, for root":  {stepClone, syscall.ENOSPC, settings{maxUserNamespaces: "0", root: true}, obstacleOff},
		"used up":                 {stepClone, syscall.ENOSPC, open, obstacleLimit},
		"nested too deep":         {stepClone, syscall.EUSERS, open, obstacleLimit},
		"kept to root":            {stepClone, syscall.EPERM, settings{unprivileged: "0"}, obstacleRootOnly},
		"kept to root, AppArmor":  {stepClone, syscall.EPERM, settings{unprivileged: "0", appArmor: "1"}, obstacleRootOnly},
		"AppArmor at clone":       {stepClone, syscall.EACCES, settings{unprivileged: "1", appArmor: "1"}, obstacleAppArmor},
		"AppArmor at mount":       {stepRoot, syscall.EACCES, settings{appArmor: "1", seccomp: "2"}, obstacleAppArmor},
		"AppArmor spares root":    {stepClone, syscall.EPERM, settings{appArmor: "1", seccomp: "2", root: true}, obstacleFilter},
		"filter":                  {stepClone, syscall.EPERM, settings{seccomp: "2"}, obstacleFilter},
		"filter at mount":         {stepRoot, syscall.EPERM, settings{seccomp: "2", root: true}, obstacleFilter},
		"covered proc":            {stepProc, syscall.EPERM, settings{seccomp: "2"}, obstacleProc},
		"covered proc, no filter": {stepProc, syscall.EPERM, open, obstacleProc},
		"no such namespaces":      {stepClone, syscall.EINVAL, open, obstacleKernel},
		"no mount_setattr":        {stepLock, syscall.ENOSYS, open, obstacleOld},
		"files of others":         {stepMount, syscall.EACCES, settings{root: true}, obstacleOwner},
		"something else":          {stepClone, syscall.EPERM, open, obstacleUnknown},
		"nothing known":           {stepClone, syscall.EPERM, settings{}, obstacleUnknown},
	} {
		if got, ok := diagnose(c.step, c.errno, c.set); !ok || got != c.want {
			t.Errorf("%s: got %q, %v, want %q", name, got.reason, ok, c.want.reason)
		}
	}
}

func TestOrdinaryErrorsAreNotCalledObstacles(t *testing.T) {
	for name, c := range map[string]struct {
		step  string
		errno syscall.Errno
	}{
		"limit too low":    {stepLimits, syscall.EPERM},
		"not executable":   {stepStart, syscall.EACCES},
		"too many files":   {stepClone, syscall.EMFILE},
		"no memory":        {stepClone, syscall.ENOMEM},
		"odd mount":        {stepMount, syscall.EINVAL},
		"unreadable":       {stepMount, syscall.EACCES},
		"no room":          {stepRoot, syscall.ENOSPC},
		"no system number": {stepOrder, 0},
	} {
		if got, ok := diagnose(c.step, c.errno, settings{appArmor: "1"}); ok {
			t.Errorf("%s: got %q, want none", name, got.reason)
		}
	}
}

func TestAnObstacleComesWithItsRemedyAndItsCause(t *testing.T) {
	err := explain(&setupError{stepClone, "operation not permitted", syscall.EPERM}, settings{unprivileged: "0"})
	var forbidden *ForbiddenError
	if !errors.As(err, &forbidden) || !errors.Is(err, syscall.EPERM) {
		t.Fatalf("got %v, want a ForbiddenError that wraps EPERM", err)
	}
	for _, want := range []string{"clone: operation not permitted", "kept to root", "hint: sudo sysctl -w kernel.unprivileged_userns_clone=1"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want it to say %q", err, want)
		}
	}
}

func TestEveryObstacleHasAReasonAndARemedy(t *testing.T) {
	for _, o := range []obstacle{obstacleOff, obstacleLimit, obstacleRootOnly, obstacleAppArmor, obstacleFilter,
		obstacleProc, obstacleKernel, obstacleOld, obstacleOwner, obstacleUnknown} {
		if o.reason == "" || o.remedy == "" {
			t.Errorf("got %+v", o)
		}
	}
}

func TestErrorsOfOtherKindsStayAsTheyAre(t *testing.T) {
	plain := errors.New("plain")
	if got := explain(plain, settings{}); got != plain {
		t.Errorf("got %v, want %v", got, plain)
	}
	start := &setupError{stepStart, "not found", syscall.ENOENT}
	if got := explain(start, settings{}); got != error(start) {
		t.Errorf("got %v, want %v", got, start)
	}
}
