//! Says which PHP this is built for (`cfg(php83)` and so on, as in ext-php-rs), and keeps the library loaded for good.

use ext_php_rs_build::{ApiVersion, PHPInfo};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    ext_php_rs_build::emit_rerun_if_env_changed();
    println!("cargo:rerun-if-env-changed=PUSH_HUB_PATH");
    ext_php_rs_build::emit_check_cfg();
    let php = ext_php_rs_build::find_php()?;
    let version: ApiVersion = PHPInfo::get(&php)?.zend_version()?.try_into()?;
    ext_php_rs_build::emit_php_cfg_flags(version);
    // A server that unloads modules on a graceful restart would leave pointers into ours behind.
    println!("cargo:rustc-link-arg-cdylib=-Wl,-z,nodelete");
    Ok(())
}
