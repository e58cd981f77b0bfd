// Command cgo holds C of its own, libc's and blst's, to prove the compiler that
// built it.
package main

/*
#include <stdio.h>
#include <gnu/libc-version.h>

static int add(int a, int b) { return a + b; }
*/
import "C"

import (
	"encoding/hex"
	"fmt"

	blst "github.com/supranational/blst/bindings/go"
)

func main() {
	var scalar blst.Scalar
	scalar.Deserialize(append(make([]byte, 31), 1))
	generator := new(blst.P1Affine).From(&scalar).Compress()
	fmt.Printf("%d glibc %s %s\n", C.add(40, 2), C.GoString(C.gnu_get_libc_version()), hex.EncodeToString(generator))
}
