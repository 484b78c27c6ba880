package sysfs

import (
	"strconv"
	"strings"
)

// number reads the number of a kernel object's name: number("host3", "host") is 3.
func number(name, prefix string) (int, bool) {
	digits, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 31)
	return int(n), err == nil && digits[0] != '+'
}

// atoi is for attributes whose absence or oddity may read as 0.
func atoi(s string) int {
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil {
		return 0
	}
	return n
}
