package server

import (
	"fmt"
	"strings"
)

// paginate gives at most limit entries (0: all) after the one that token names, and the token of the next page.
// Entries are sorted by pool, then name. A token stays valid when its entry is deleted between two calls.
func paginate[T any](all []T, keyOf func(T) key, limit uint32, token string) ([]T, string, error) {
	if token != "" {
		poolName, name, _ := strings.Cut(token, "/")
		if checkName("pool", poolName) != nil || checkName("name", name) != nil {
			return nil, "", fmt.Errorf("%w: %.80q", errToken, token)
		}
		for len(all) > 0 && !after(keyOf(all[0]), poolName, name) {
			all = all[1:]
		}
	}
	if limit == 0 || int64(len(all)) <= int64(limit) {
		return all, "", nil
	}
	last := keyOf(all[limit-1])
	return all[:limit], last.GetPool() + "/" + last.GetName(), nil
}

func after(k key, poolName, name string) bool {
	return k.GetPool() > poolName || k.GetPool() == poolName && k.GetName() > name
}
