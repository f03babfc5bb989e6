//! The program: arguments, signals, exit code. Keeper and hub are this program too, told apart by `argv[0]`.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use push_core::config::{Config, ConfigError};
use push_core::control::{Control, Inherited, Told};
use push_core::convert;
use push_core::doctor::{self, Finding, Questions, Verdict};
use push_core::hub::{Hub, Sockets};
use push_core::{keeper, logging};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    if name == *keeper::HUB.to_string_lossy() {
        return hub();
    }
    if name == *keeper::KEEPER.to_string_lossy() {
        return keeper::run_inherited(&reload);
    }
    if name == *keeper::RESTORED.to_string_lossy() {
        return keeper::run_restored(&reload);
    }
    let mut arguments = arguments.peekable();
    if arguments.next_if(|first| first == "convert").is_some() {
        return converted(arguments);
    }
    if arguments.next_if(|first| first == "doctor").is_some() {
        return examined(arguments);
    }
    let arguments: Vec<OsString> = arguments.collect();
    match command(arguments.iter().cloned()) {
        Ok(Command::Run(config)) => {
            let text = |argument: OsString| argument.into_string().expect("checked when they were read");
            keeper::run(&config, arguments.into_iter().map(text).collect(), &reload)
        }
        Ok(Command::Say(text)) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("push-hub: {why}");
            ExitCode::FAILURE
        }
    }
}

/// What the files say now that these arguments name, which ran a hub before.
fn reload(arguments: &[String]) -> Result<Config, String> {
    match command(arguments.iter().map(OsString::from))? {
        Command::Run(config) => Ok(*config),
        Command::Say(_) => unreachable!("these arguments ran a hub"),
    }
}

/// `push-hub doctor`: the exit status says whether there is a problem.
fn examined(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut questions = Questions::default();
    let mut others = Vec::new();
    let mut arguments = arguments.peekable();
    while let Some(argument) = arguments.next() {
        let list = match argument.to_str() {
            Some("--url") => &mut questions.urls,
            Some("--access") => &mut questions.users,
            _ => {
                others.push(argument);
                continue;
            }
        };
        match arguments.next().and_then(|value| value.into_string().ok()) {
            Some(value) => list.push(value),
            None => {
                eprintln!("push-hub: {} needs a value", argument.to_string_lossy());
                return ExitCode::FAILURE;
            }
        }
    }
    let config = match command(others.into_iter()) {
        Ok(Command::Run(config)) => config,
        Ok(Command::Say(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            println!("{}", Finding { verdict: Verdict::Problem, text: format!("configuration: {why}") });
            return ExitCode::FAILURE;
        }
    };
    let mut worst = Verdict::Ok;
    doctor::examine(&config, &questions, &mut |finding| {
        println!("{finding}");
        worst = worst.max(finding.verdict);
    });
    if worst == Verdict::Problem { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// `push-hub convert nginx.conf`: the exit codes are those of diff, which says 1 when something differs and 2 for trouble.
fn converted(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let (Some(file), None) = (arguments.next(), arguments.next()) else {
        eprintln!("push-hub: convert takes one file: push-hub convert /etc/nginx/nginx.conf > push.toml");
        return ExitCode::from(2);
    };
    match convert::convert(Path::new(&file)) {
        Ok(convert::Converted { toml, left_out }) => {
            print!("{toml}");
            left_out.iter().for_each(|what| eprintln!("{what}"));
            if left_out.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) }
        }
        Err(error) => {
            eprintln!("push-hub: {error}");
            ExitCode::from(2)
        }
    }
}

enum Command {
    Run(Box<Config>),
    Say(String),
}

fn command(arguments: impl Iterator<Item = OsString>) -> Result<Command, String> {
    let mut config = Config::default();
    let mut check = false;
    let mut flags = Vec::new();
    let mut arguments =
        arguments.map(|argument| argument.into_string().map_err(|_| "arguments must be UTF-8".to_owned()));
    while let Some(argument) = arguments.next().transpose()? {
        let Some(flag) = argument.strip_prefix("--") else {
            return Err(format!("\"{argument}\" is no flag; --help lists them"));
        };
        let (key, value) = match flag.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (flag, None),
        };
        match key {
            "help" => return Ok(Command::Say(help())),
            "version" => return Ok(Command::Say(format!("push-hub {}\n", env!("CARGO_PKG_VERSION")))),
            "check" => check = true,
            _ => {
                let next = || arguments.next().transpose()?.ok_or_else(|| format!("--{key} needs a value"));
                let value = value.map_or_else(next, Ok)?;
                flags.push((key.replace('-', "_"), value));
            }
        }
    }
    // A flag goes before the file, wherever it stands.
    for (_, file) in flags.iter().filter(|(key, _)| key == "config") {
        config.load(Path::new(file)).map_err(|error| error.to_string())?;
    }
    for (key, value) in flags.iter().filter(|(key, _)| key != "config") {
        config.set(key, value).map_err(|error| match error {
            ConfigError::Unknown { .. } => format!("{error} (--help lists all)"),
            error => format!("--{error}"),
        })?;
    }
    match check {
        true => keeper::check(&config).map(Command::Say).map_err(|error| error.to_string()),
        false => Ok(Command::Run(Box::new(config))),
    }
}

fn help() -> String {
    let mut text = "push-hub [--config FILE] [--check] [--<key> VALUE]...\n\
        push-hub convert NGINX.CONF\n\
        push-hub doctor [--config FILE] [--<key> VALUE]... [--url URL]... [--access USER]...\n\n\
        Runs a hub in the foreground until SIGTERM or SIGINT.\n\n\
        \x20 --config FILE   TOML file with the keys below and [[location]] tables\n\
        \x20 --check         check the configuration, show listeners and limits, start nothing\n\
        \x20 --version       show the version\n\
        \x20 --help          show this\n\n\
        convert prints the TOML for the push_stream directives of an nginx configuration and all that it includes. What\n\
        cannot be carried over is named there and on standard error. Exit status: 0 all is carried over, 1 something is\n\
        left out, 2 the file cannot be read or says nothing of push_stream.\n\n\
        doctor looks at a running hub: configuration, limits, permissions, clock. With --url it subscribes through nginx, to\n\
        http://127.0.0.1/sub/ and other locations, and sees whether messages come through at once and connections live as\n\
        long as they shall. With --access it says whether that user may attach. Exit status: 1 with a problem.\n\n\
        Keys, each with its default:\n"
        .to_owned();
    for key in Config::keys() {
        let flag = key.name.replace('_', "-");
        text.push_str(&format!("\n  --{flag} ({})\n      {}\n      {}\n", key.default, key.description, key.allowed));
    }
    text
}

/// Serves until the keeper or a signal ends it.
fn hub() -> ExitCode {
    let Inherited {
        config,
        listen,
        admin_listen,
        trusted_listen,
        attach,
        start,
        journal,
        clients,
        control,
        mut keeper,
    } = match Control::inherit() {
        Ok(inherited) => inherited,
        Err(error) => {
            eprintln!("push-hub: a hub is started by its keeper: {error}");
            return ExitCode::FAILURE;
        }
    };
    logging::start(&config.log, config.log_level);
    // A thread that is missing would be missed by its connections alone; the keeper replaces a hub that is gone.
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!("internal error: {panic}");
        std::process::abort();
    }));
    let control = Arc::new(control);
    let sockets = Sockets { listen, admin_listen, trusted_listen, attach };
    let mut hub = match Hub::resume(Arc::new(config), sockets, start, journal, clients, Some(control.clone())) {
        Ok(hub) => hub,
        Err(error) => {
            control.failed(&error.to_string());
            return ExitCode::FAILURE;
        }
    };
    // A keeper that does not hear it has a full line, or is gone and will be replaced.
    let _ = control.ready();
    let mut halted = None;
    loop {
        match (keeper.next(&control), halted) {
            (Told::Config(config), _) => {
                logging::set_level(config.log_level);
                if let Err(error) = logging::change(&config.log) {
                    tracing::error!("log = \"{}\": {error}: this hub goes on where it was", config.log);
                }
                hub.reconfigure(&Arc::from(config));
            }
            (Told::Answer, halted) => {
                // The engine of one that has halted is another hub's.
                if halted.is_none() {
                    hub.stir();
                }
                control.engine_lives();
            }
            (Told::Arrivals(line), _) => {
                if let Err(error) = hub.receive_connections(line) {
                    tracing::warn!(%error, "connections of the hub before this one close");
                }
            }
            (Told::Halt, _) => match hub.halt() {
                Ok(position) => {
                    halted = Some(position);
                    control.halted();
                }
                Err(error) => {
                    tracing::error!(%error, "this hub cannot halt, and ends at once");
                    return ExitCode::FAILURE;
                }
            },
            (Told::Leave(line), Some(head)) => {
                hub.leave(head, line);
                break;
            }
            (Told::Drain, Some(head)) => {
                hub.leave(head, None);
                break;
            }
            (Told::Leave(_) | Told::Drain, None) => {
                hub.drain();
                break;
            }
        }
    }
    ExitCode::SUCCESS
}
