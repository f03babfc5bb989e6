push_sources = $(shell find -L $(PUSH_SOURCE)/Cargo.toml $(PUSH_SOURCE)/Cargo.lock $(PUSH_SOURCE)/core $(PUSH_SOURCE)/php-ext/src $(PUSH_SOURCE)/php-ext/build.rs $(PUSH_SOURCE)/php-ext/Cargo.toml -type f)

# Only after a change, since `make install` often runs as root, who has no Rust.
$(phplibdir)/push.so: $(push_sources) Makefile
	PHP=$(PHP_EXECUTABLE) PHP_CONFIG=$(PHP_CONFIG) PUSH_HUB_PATH=$(PUSH_HUB_PATH) CARGO_TARGET_DIR=$(PUSH_TARGET) \
		$(CARGO) build --release --locked --manifest-path $(PUSH_SOURCE)/Cargo.toml --package push-core --package push-php-ext
	cp -f $(PUSH_TARGET)/release/push-hub $(top_builddir)/push-hub
	cp -f $(PUSH_TARGET)/release/libphp_push.so $@

$(phplibdir)/push.la: $(phplibdir)/push.so
	@echo "dlname='push.so'" > $@

install: install-push-hub

.PHONY: install-push-hub
install-push-hub: $(phplibdir)/push.so
	@echo "Installing the hub:               $(INSTALL_ROOT)$(PUSH_HUB_PATH)"
	@$(mkinstalldirs) $(INSTALL_ROOT)$$(dirname $(PUSH_HUB_PATH))
	@$(INSTALL) $(top_builddir)/push-hub $(INSTALL_ROOT)$(PUSH_HUB_PATH)
