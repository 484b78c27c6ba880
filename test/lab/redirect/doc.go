// Package redirect holds the scenario of an array that fails over by itself: logins go to one address, which sends them on to
// whatever portal has the target now.
package redirect
