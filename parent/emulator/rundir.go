package emulator

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Names of the sockets in the run directory.
const (
	vhostSocket = "vhost.sock" // between QEMU and vhost-device-vsock
	hostSocket  = "vm.vsock"   // the host connects here to reach the guest
)

// portSocket is where the host listens for the guest's calls to a port of CID 2.
func portSocket(port uint32) string { return fmt.Sprintf("%s_%d", hostSocket, port) }

// A runDir is the private directory that the host and the sandboxes share.
type runDir struct {
	path    string
	handle  *os.File
	sockets string // the directory by its handle
}

// makeRunDir makes the directory under [os.TempDir], for this user alone.
func makeRunDir() (*runDir, error) {
	path, err := os.MkdirTemp("", "holdfast-") // mode 0700
	if err != nil {
		return nil, err
	}
	handle, err := os.Open(path)
	if err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	return &runDir{path, handle, fmt.Sprintf("/proc/self/fd/%d", handle.Fd())}, nil
}

// file is the path of a file in the directory.
func (d *runDir) file(name string) string { return filepath.Join(d.path, name) }

// socket is a path by which a socket can be reached however long the directory's own is: one longer than
// 107 bytes does not fit in a socket's address (unix(7)). It is good until the directory is removed.
func (d *runDir) socket(name string) string { return filepath.Join(d.sockets, name) }

// remove removes the directory and all in it.
func (d *runDir) remove() error {
	return errors.Join(os.RemoveAll(d.path), d.handle.Close())
}
