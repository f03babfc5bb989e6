dnl phpize && ./configure && make && make install. Cargo compiles the extension and the hub, see Makefile.frag; what
dnl configure finds out is which PHP they are for and where the hub is going to be.

PHP_ARG_ENABLE([push],
  [whether to enable push],
  [AS_HELP_STRING([--disable-push], [Build without push])],
  [yes])

PHP_ARG_WITH([push-hub],
  [where push-hub is installed],
  [AS_HELP_STRING([--with-push-hub=PATH],
    [Absolute path for the program push-hub [/usr/local/sbin/push-hub]])],
  [/usr/local/sbin/push-hub],
  [no])

if test "$PHP_PUSH" != "no"; then
  case $PHP_PUSH_HUB in
    /*) ;;
    *) AC_MSG_ERROR([--with-push-hub=$PHP_PUSH_HUB: must be an absolute path, it is compiled into the extension]) ;;
  esac
  PUSH_HUB_PATH=$PHP_PUSH_HUB

  AC_PATH_PROG([CARGO], [cargo], [], [$PATH$PATH_SEPARATOR$HOME/.cargo/bin])
  if test -z "$CARGO"; then
    AC_MSG_ERROR([push is written in Rust and there is no cargo; https://rustup.rs installs it])
  fi

  dnl A package manager may give this directory as a link into the sources; cargo wants the place itself.
  PUSH_SOURCE=`readlink -f "$srcdir/../Cargo.toml"`
  if test ! -f "$PUSH_SOURCE"; then
    AC_MSG_ERROR([$srcdir/../Cargo.toml is missing: push builds only inside its complete sources])
  fi
  PUSH_SOURCE=`dirname "$PUSH_SOURCE"`
  PUSH_TARGET=${CARGO_TARGET_DIR:-$PUSH_SOURCE/target}

  dnl configure keeps them for itself otherwise; the build must ask the same PHP.
  PHP_CONFIG=`command -v "$PHP_CONFIG"`
  PHP_SUBST([PHP_CONFIG])
  PHP_SUBST([CARGO])
  PHP_SUBST([PUSH_HUB_PATH])
  PHP_SUBST([PUSH_SOURCE])
  PHP_SUBST([PUSH_TARGET])

  dnl Instead of PHP_NEW_EXTENSION, which would link an extension of C. `make test` reads the name to load from the .la.
  PHP_MODULES="$PHP_MODULES \$(phplibdir)/push.la"
  PHP_ADD_BUILD_DIR([modules])
  PHP_ADD_MAKEFILE_FRAGMENT([$abs_srcdir/Makefile.frag], [$abs_srcdir], [$abs_builddir])
fi
