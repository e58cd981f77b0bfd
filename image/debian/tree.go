package debian

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
)

// A tree is a root directory being filled by several packages at once. It remembers what every path
// is, so that what comes out does not depend on who comes first: directories are shared, every other
// path has one owner, and no path leads through a symbolic link.
type tree struct {
	root *os.Root

	mu          sync.Mutex
	directories map[string]fs.FileMode // and the permission bits they were given; 0 when only implied
	owners      map[string]string      // of everything that is not a directory
}

// newTree opens the empty directory dir and lays the merged-/usr links in it.
func newTree(dir string) (*tree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	t := &tree{root: root, directories: map[string]fs.FileMode{".": 0}, owners: map[string]string{}}
	for _, name := range mergedDirectories {
		if err := t.link(name, "usr/"+name); err != nil {
			root.Close()
			return nil, err
		}
	}
	return t, nil
}

// link makes a relative symbolic link and, beside it, the directory it leads to.
func (t *tree) link(name, target string) error {
	if err := t.addDirectory(target, "", 0o755); err != nil {
		return err
	}
	t.owners[name] = "the merged /usr layout"
	return t.root.Symlink(target, name)
}

// addDirectory makes a directory, or takes note of another package that has it. Where two packages
// disagree on its mode, the bits that both grant remain, whichever came first.
func (t *tree) addDirectory(name, owner string, mode fs.FileMode) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.makeDirectory(name, owner); err != nil {
		return err
	}
	if old := t.directories[name]; old != 0 {
		mode &= old
	}
	if mode == t.directories[name] {
		return nil
	}
	t.directories[name] = mode
	return t.root.Chmod(name, mode)
}

// makeDirectory makes a directory and its parents, which an archive may leave out, with mode 0755.
func (t *tree) makeDirectory(name, owner string) error {
	if other, taken := t.owners[name]; taken {
		return conflict(name, owner, other)
	}
	if _, ok := t.directories[name]; ok {
		return nil
	}
	if err := t.makeDirectory(path.Dir(name), owner); err != nil {
		return err
	}
	if err := t.root.Mkdir(name, 0o755); err != nil {
		return err
	}
	t.directories[name] = 0
	return t.root.Chmod(name, 0o755)
}

// claim makes owner the owner of a path that is about to be made, and makes its parent directories.
func (t *tree) claim(name, owner string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if other, taken := t.owners[name]; taken {
		return conflict(name, owner, other)
	}
	if _, taken := t.directories[name]; taken {
		return fmt.Errorf("%s is a directory of another package", name)
	}
	if err := t.makeDirectory(path.Dir(name), owner); err != nil {
		return err
	}
	t.owners[name] = owner
	return nil
}

func conflict(name, owner, other string) error {
	if owner == other {
		return fmt.Errorf("%s is in the package twice", name)
	}
	return fmt.Errorf("%s is also in %s, where it is no directory", name, filepath.Base(other))
}

// owns says whether owner has made that path, and not as a directory.
func (t *tree) owns(owner, name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.owners[name] == owner && owner != ""
}

// linkAlternatives makes the links whose targets were unpacked.
func (t *tree) linkAlternatives() error {
	for _, a := range alternatives {
		target := path.Join(path.Dir(a.link), a.target)
		_, there := t.owners[target]
		if _, taken := t.owners[a.link]; taken || !there {
			continue
		}
		if err := t.root.Symlink(a.target, a.link); err != nil {
			return errors.Join(fmt.Errorf("alternative %s", a.link), err)
		}
	}
	return nil
}
