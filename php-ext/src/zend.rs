//! Arguments, results, classes and exceptions as PHP expects them, over the Zend API.
//!
//! A call has three phases, and this layer keeps them apart. [`Args`] converts the arguments as php-src converts them
//! (this may run PHP code: `__toString`, error handlers, `jsonSerialize`). Then plain Rust runs and calls nothing of PHP.
//! Then [`enter`] parks the [`Outcome`] in the module's globals and copies it to PHP. A fatal error of PHP leaves by
//! `longjmp` and runs no destructor; with these phases it never finds a lock, a borrow or a heap value of ours on the way.
//! What the functions and classes are called is decided elsewhere.

mod args;

use std::borrow::Cow;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::slice;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use ext_php_rs::args::{ArgInfo, ArgInfoTables};
use ext_php_rs::builders::ClassBuilder;
use ext_php_rs::ffi;
pub(crate) use ext_php_rs::flags::MethodFlags;
use ext_php_rs::flags::{ClassFlags, DataType, IniEntryPermission, PropertyFlags};
use ext_php_rs::types::{ZendHashTable, ZendObject, ZendStr, Zval};
use ext_php_rs::zend::{ClassEntry, ExecuteData, FunctionEntry, IniEntryDef, ZendType, ce, run_handler};

pub(crate) use self::args::{Args, Data, Field, Object, Objects, Payloads, StringOrInt};
use crate::GLOBALS;

/// What `zend_result` calls success.
pub(crate) const SUCCESS: c_int = 0;
/// What `zend_result` calls failure.
pub(crate) const FAILURE: c_int = -1;

/// How long what is registered in MINIT lives, unless `dl()` loaded the module.
const MODULE_PERSISTENT: c_int = 1;
/// What MINIT is told when `dl()` loaded the module.
pub(crate) const MODULE_TEMPORARY: c_int = 2;
/// `ZEND_ACC_READONLY`, which ext-php-rs does not bind.
const READONLY: u32 = 1 << 7;

// What php-src exports and ext-php-rs does not bind. Signatures as in Zend/zend_API.h, Zend/zend_exceptions.h,
// Zend/zend_ini.h, main/php_ini.h and ext/{json,spl} of PHP 8.2 to 8.5.
unsafe extern "C" {
    static spl_ce_RuntimeException: *mut ClassEntry;

    fn php_log_err_with_severity(message: *const c_char, severity: c_int);
    fn zend_wrong_parameters_count_error(min: u32, max: u32);
    fn zend_argument_error(class: *mut ClassEntry, number: u32, format: *const c_char, ...);

    fn object_init_ex(arg: *mut Zval, class: *mut ClassEntry) -> c_int;
    fn zend_declare_typed_property(
        class: *mut ClassEntry,
        name: *mut ffi::zend_string,
        default: *mut Zval,
        flags: c_int,
        comment: *mut ffi::zend_string,
        type_: ZendType,
    ) -> *mut c_void;

    fn zend_register_functions(
        class: *mut ClassEntry,
        functions: *const FunctionEntry,
        table: *mut ffi::HashTable,
        type_: c_int,
    ) -> c_int;
    fn zend_clear_exception();
    fn php_output_get_start_filename() -> *const c_char;
    fn php_output_get_start_lineno() -> c_int;
    fn php_json_decode_ex(
        target: *mut Zval,
        text: *const c_char,
        len: usize,
        options: ffi::zend_long,
        depth: ffi::zend_long,
    ) -> c_int;

    fn zend_error(level: c_int, format: *const c_char, ...);
    fn zend_ini_string_ex(name: *const c_char, len: usize, original: c_int, exists: *mut bool) -> *mut c_char;
    fn cfg_get_entry(name: *const c_char, len: usize) -> *mut Zval;
    fn display_ini_entries(module: *mut ffi::zend_module_entry);
}

/// The type of a parameter, a result or a property, as Reflection shows it.
#[derive(Clone, Copy)]
pub(crate) enum Type {
    /// Of a constructor's result.
    None,
    Mixed,
    Void,
    Bool,
    Int,
    Float,
    Array,
    String,
    IntOrString,
    ArrayOrString,
    Object(&'static Class),
}

impl Type {
    fn zend(self, nullable: bool) -> ZendType {
        let plain = |type_| {
            // Only a class name with a NUL byte has no type, and ours are literals without.
            ZendType::empty_from_type(type_, false, false, nullable).unwrap_or_else(|| ZendType::empty(false, false))
        };
        match self {
            Self::None => ZendType::empty(false, false),
            Self::Mixed => plain(DataType::Mixed),
            Self::Void => plain(DataType::Void),
            Self::Bool => plain(DataType::Bool),
            Self::Int => plain(DataType::Long),
            Self::Float => plain(DataType::Double),
            Self::Array => plain(DataType::Array),
            Self::String => plain(DataType::String),
            Self::IntOrString => {
                let mut union = plain(DataType::String);
                union.type_mask |= 1 << ffi::IS_LONG;
                union
            }
            Self::ArrayOrString => {
                let mut union = plain(DataType::String);
                union.type_mask |= 1 << ffi::IS_ARRAY;
                union
            }
            Self::Object(class) => plain(DataType::object(class.name)),
        }
    }

    /// Whether a property of this type may hold the value as it is.
    fn holds(self, value: &Zval) -> bool {
        match self {
            Self::Mixed => true,
            Self::Bool => value.is_bool(),
            Self::Int => value.is_long(),
            Self::String => value.is_string(),
            Self::Array => value.is_array(),
            Self::None | Self::Void | Self::Float | Self::IntOrString | Self::ArrayOrString | Self::Object(_) => false,
        }
    }
}

/// A readonly property.
pub(crate) struct Property {
    name: &'static str,
    type_: Type,
    nullable: bool,
}

impl Property {
    pub(crate) const fn new(name: &'static str, type_: Type) -> Self {
        Self { name, type_, nullable: false }
    }

    pub(crate) const fn nullable(name: &'static str, type_: Type) -> Self {
        Self { name, type_, nullable: true }
    }
}

/// One parameter. With a default, written as PHP source, it may be omitted.
pub(crate) struct Param {
    name: &'static CStr,
    type_: Type,
    nullable: bool,
    default: Option<&'static CStr>,
}

impl Param {
    pub(crate) const fn required(name: &'static CStr, type_: Type) -> Self {
        Self { name, type_, nullable: false, default: None }
    }

    pub(crate) const fn nullable(name: &'static CStr, type_: Type) -> Self {
        Self { name, type_, nullable: true, default: Some(c"null") }
    }

    pub(crate) const fn optional(name: &'static CStr, type_: Type, default: &'static CStr) -> Self {
        Self { name, type_, nullable: false, default: Some(default) }
    }

    fn arg_info(&self) -> ArgInfo {
        ArgInfo {
            name: self.name.as_ptr(),
            type_: self.type_.zend(self.nullable),
            default_value: self.default.map_or(ptr::null(), CStr::as_ptr),
        }
    }
}

/// What the engine calls.
pub(crate) type Handler = extern "C" fn(&mut ExecuteData, &mut Zval);

/// A function of the module.
pub(crate) struct Function {
    pub(crate) name: &'static CStr,
    pub(crate) handler: Handler,
    pub(crate) params: &'static [Param],
    pub(crate) returns: Type,
    pub(crate) returns_null: bool,
}

impl Function {
    fn required(&self) -> usize {
        self.params.iter().take_while(|param| param.default.is_none()).count()
    }

    /// A public method.
    fn method(&self, flags: MethodFlags) -> (FunctionEntry, Box<[ArgInfo]>) {
        let (entry, infos) = self.entry();
        (FunctionEntry { flags: (MethodFlags::Public | flags).bits(), ..entry }, infos)
    }

    /// The engine's description of it, and the table that it points into and that must live as long.
    fn entry(&self) -> (FunctionEntry, Box<[ArgInfo]>) {
        let head = ArgInfo {
            // The engine reads the first entry as `zend_internal_function_info`, whose first word is this count.
            name: ptr::without_provenance(self.required()),
            type_: self.returns.zend(self.returns_null),
            default_value: ptr::null(),
        };
        let infos: Box<[ArgInfo]> = std::iter::once(head).chain(self.params.iter().map(Param::arg_info)).collect();
        // SAFETY: `&mut T` and a non-null, aligned `*mut T` to a live `T` are passed alike, and the engine passes only such.
        let handler = unsafe {
            std::mem::transmute::<Handler, unsafe extern "C" fn(*mut ffi::zend_execute_data, *mut Zval)>(self.handler)
        };
        let entry = FunctionEntry {
            fname: self.name.as_ptr(),
            handler: Some(handler),
            arg_info: infos.as_ptr(),
            num_args: u32::try_from(self.params.len()).unwrap_or(0),
            ..FunctionEntry::end()
        };
        (entry, infos)
    }
}

/// The module's function table, and the argument tables it points into.
pub(crate) fn function_table(functions: &[Function]) -> (Box<[FunctionEntry]>, ArgInfoTables) {
    let (mut entries, infos): (Vec<_>, Vec<_>) = functions.iter().map(Function::entry).unzip();
    entries.push(FunctionEntry::end());
    (entries.into_boxed_slice(), infos.into_boxed_slice())
}

/// Takes a function of ours away again, as `disable_functions` does. Only in MINIT.
pub(crate) fn remove_function(name: &str) {
    // SAFETY: MINIT runs alone, before any request could hold the function; `name` is valid for its length.
    unsafe {
        let table = (*ffi::ext_php_rs_compiler_globals()).function_table;
        ffi::zend_hash_str_del(table, name.as_ptr().cast(), name.len());
    }
}

/// Makes the handler of a function from `fn(&Args) -> Outcome`; the numbers are how many arguments it needs and takes.
macro_rules! handler {
    ($function:path, $required:expr, $all:expr) => {{
        extern "C" fn handler(frame: &mut ext_php_rs::zend::ExecuteData, result: &mut ext_php_rs::types::Zval) {
            $crate::zend::enter(frame, result, $required..=$all, $function);
        }
        handler
    }};
}
pub(crate) use handler;

/// The way into and out of each function: counts the arguments, runs `function`, delivers what came out.
pub(crate) fn enter(
    frame: &mut ExecuteData,
    result: &mut Zval,
    allowed: std::ops::RangeInclusive<u32>,
    function: fn(&Args<'_>) -> Outcome,
) {
    // A panic becomes a PHP `Error`; a bailout goes on to PHP.
    run_handler(AssertUnwindSafe(|| {
        // SAFETY: in a frame of a function call, `This.u2` holds the number of arguments.
        let count = unsafe { frame.This.u2.num_args };
        if !allowed.contains(&count) {
            // SAFETY: called inside the call that it reports, as the function requires.
            unsafe { zend_wrong_parameters_count_error(*allowed.start(), *allowed.end()) };
            return;
        }
        let args = Args { frame, count, result: ptr::from_mut(result) };
        let outcome = GLOBALS.get().outcome.park(function(&args));
        if let Err(Failure::Warning(text)) = outcome {
            let text = terminated(text);
            // Before the warning: its handler may call us.
            GLOBALS.get().outcome.clear();
            warn(&text);
            return;
        }
        match outcome {
            Ok(value) => value.write(result),
            Err(failure) => failure.throw(),
        }
        GLOBALS.get().outcome.clear();
    }));
}

/// What a function comes back with.
pub(crate) type Outcome = Result<Value, Failure>;

/// Holds an outcome while PHP copies it. After a bailout in between, the next call finds and drops it.
#[derive(Default)]
pub(crate) struct Parked(std::cell::UnsafeCell<Option<Outcome>>);

impl Parked {
    /// The reference is good until the next call of `park` or `clear` on this thread; copying to PHP runs neither,
    /// because creating our objects, strings and exceptions runs no PHP code.
    fn park(&self, outcome: Outcome) -> &Outcome {
        // SAFETY: per-thread storage, and by the sentence above no reference into it is alive here.
        unsafe { (*self.0.get()).insert(outcome) }
    }

    fn clear(&self) {
        // SAFETY: as in `park`: `enter` is done with the reference.
        unsafe { *self.0.get() = None };
    }
}

/// A value for PHP, still in Rust's hands.
pub(crate) enum Value {
    Null,
    /// The result stands already where PHP looks for it.
    Delivered,
    Bool(bool),
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
    /// The value that the JSON text stands for, objects as arrays; the text itself when it is none.
    Json(Vec<u8>),
    Object(&'static Class, Vec<Value>),
    /// `null`, when these lines stand in the head of the answer, each in the place of others of its name.
    Head(Vec<String>),
    Array(Vec<(&'static CStr, Value)>),
    List(Vec<Value>),
}

impl Value {
    /// `null`, or the value.
    pub(crate) fn nullable<T>(value: Option<T>, present: impl FnOnce(T) -> Self) -> Self {
        value.map_or(Self::Null, present)
    }

    /// PHP's integers are signed; no counter of ours gets there.
    pub(crate) fn count(number: impl TryInto<i64>) -> Self {
        Self::Int(number.try_into().unwrap_or(i64::MAX))
    }

    fn write(&self, target: &mut Zval) {
        match self {
            Self::Null => target.set_null(),
            Self::Delivered => {}
            Self::Bool(value) => target.set_bool(*value),
            Self::Int(value) => target.set_long(*value),
            Self::Text(text) => target.set_zend_string(ZendStr::new(text, false)),
            Self::Bytes(bytes) => target.set_zend_string(ZendStr::new(bytes, false)),
            Self::Json(text) => {
                target.set_zend_string(ZendStr::new(text, false));
                decode(target);
            }
            Self::List(values) => {
                let mut table = ZendHashTable::with_capacity(size(values.len()));
                for value in values {
                    let mut slot = Zval::new();
                    value.write(&mut slot);
                    append(&mut table, slot);
                }
                target.set_hashtable(table);
            }
            Self::Array(entries) => {
                let mut table = ZendHashTable::new();
                for (key, value) in entries {
                    let mut slot = Zval::new();
                    value.write(&mut slot);
                    let key = key.to_bytes();
                    // SAFETY: the table is ours and live; it takes over what `slot` holds.
                    unsafe {
                        ffi::zend_hash_str_update(&raw mut *table, key.as_ptr().cast(), key.len(), &raw mut slot);
                    }
                    std::mem::forget(slot);
                }
                target.set_hashtable(table);
            }
            Self::Head(lines) => {
                target.set_null();
                for line in lines {
                    // SAFETY: plain data, for which zeros mean "not given".
                    let mut given: ffi::sapi_header_line = unsafe { std::mem::zeroed() };
                    given.line = line.as_ptr().cast();
                    given.line_len = line.len();
                    // SAFETY: PHP copies the line, which lives until then, for its length.
                    unsafe {
                        ffi::sapi_header_op(ffi::sapi_header_op_enum_SAPI_HEADER_REPLACE, (&raw mut given).cast());
                    }
                }
            }
            Self::Object(class, fields) => {
                // SAFETY: our class is registered, final and without abstract parts, so this makes a plain object.
                let slots = unsafe {
                    if object_init_ex(&raw mut *target, class.entry_ptr()) != SUCCESS {
                        return;
                    }
                    class.slots(target.value.obj)
                };
                for (slot, field) in slots.iter_mut().zip(fields) {
                    field.write(slot);
                }
            }
        }
    }
}

/// Why a call ends without a value.
pub(crate) enum Failure {
    /// PHP has an exception pending already.
    Thrown,
    /// A `ValueError`: "push_publish(): Argument #1 ($channel) " and the text.
    Argument(u32, Cow<'static, str>),
    /// A `ValueError` that concerns no single argument.
    Value(String),
    /// An `Error`, as the engine throws it for what a program must not do.
    Misuse(String),
    /// No exception: a warning, and the function returns.
    Warning(String),
    /// One of our exceptions, with its code.
    Exception(&'static Class, i32, String),
}

impl Failure {
    fn throw(&self) {
        match self {
            // A warning is given by `enter`.
            Self::Thrown | Self::Warning(_) => {}
            Self::Argument(number, text) => {
                let text = terminated(text);
                // SAFETY: inside the call whose argument is wrong; "%s" takes the one terminated text.
                unsafe {
                    zend_argument_error(ffi::zend_ce_value_error, *number, c"%s".as_ptr(), text.as_ptr());
                }
            }
            Self::Value(text) => throw(ptr::from_ref(ce::value_error()).cast_mut(), text, 0),
            Self::Misuse(text) => throw(ptr::from_ref(ce::error()).cast_mut(), text, 0),
            Self::Exception(class, code, text) => throw(class.entry_ptr(), text, *code),
        }
    }
}

fn throw(class: *mut ClassEntry, text: &str, code: i32) {
    let text = terminated(text);
    // SAFETY: a registered, instantiable class; the engine copies the terminated text.
    unsafe { ffi::zend_throw_exception(class, text.as_ptr().cast(), code.into()) };
}

/// An `E_WARNING` of the function that runs. Its handler is PHP code: nothing of ours may be held.
fn warn(text: &[u8; TEXT]) {
    // SAFETY: inside a call; "%s" takes the one terminated text.
    unsafe { ffi::php_error_docref(ptr::null(), ffi::E_WARNING.cast_signed(), c"%s".as_ptr(), text.as_ptr()) };
}

/// An `Error`, as the engine throws it for what a program must not do.
fn refuse(text: &str) -> Failure {
    throw(ptr::from_ref(ce::error()).cast_mut(), text, 0);
    Failure::Thrown
}

/// The longest text of ours that PHP gets, with its NUL.
const TEXT: usize = 1536;

/// `text` with a NUL behind it, on the stack: nothing to free when PHP leaves by a bailout. Ours fit; a name of the
/// greatest length that is quoted in a text does not always, and loses its end.
fn terminated(text: &str) -> [u8; TEXT] {
    let mut buffer = [0; TEXT];
    let end = (0..buffer.len()).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    buffer[..end].copy_from_slice(&text.as_bytes()[..end]);
    buffer
}

/// What to reserve for so many elements.
fn size(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(0)
}

/// Puts the value at the end of a list.
fn append(list: &mut ZendHashTable, value: Zval) {
    let mut value = ManuallyDrop::new(value);
    // SAFETY: the table is live, ours alone, and takes over what the value holds.
    unsafe { ffi::zend_hash_next_index_insert(ptr::from_mut(list), &raw mut *value) };
}

/// Replaces JSON text by the value that it stands for, objects as arrays; what is no JSON stays.
fn decode(text: &mut Zval) {
    const OBJECT_AS_ARRAY: ffi::zend_long = 1;
    const THROW_ON_ERROR: ffi::zend_long = 1 << 22;
    // With its default of 512 PHP does not decode the deepest values that it encodes.
    const DEPTH: ffi::zend_long = 1024;
    let Some(json) = text.zend_str() else { return };
    let mut value = Zval::new();
    // SAFETY: a terminated text that lives until it is replaced. Decoding runs no PHP code; it throws rather than touch what
    // `json_last_error()` says to the script, and no exception was pending before.
    unsafe {
        let options = OBJECT_AS_ARRAY | THROW_ON_ERROR;
        let decoded = php_json_decode_ex(&raw mut value, json.as_bytes().as_ptr().cast(), json.len(), options, DEPTH);
        if decoded == SUCCESS {
            *text = value;
        } else {
            zend_clear_exception();
        }
    }
}

/// SAFETY: `string` is a live `zend_string` that lives as long as `'a`.
unsafe fn bytes<'a>(string: *mut ffi::zend_string) -> &'a [u8] {
    // SAFETY: a `zend_string` has `len` bytes from `val` on, beyond the one that its declaration shows.
    unsafe { slice::from_raw_parts((&raw const (*string).val).cast(), (*string).len) }
}

/// One class of the module. The engine makes its entry anew at each start of the module.
pub(crate) struct Class {
    name: &'static str,
    properties: &'static [Property],
    entry: AtomicPtr<ClassEntry>,
}

impl Class {
    pub(crate) const fn new(name: &'static str) -> Self {
        Self::with(name, &[])
    }

    /// A class that declares these properties.
    pub(crate) const fn with(name: &'static str, properties: &'static [Property]) -> Self {
        Self { name, properties, entry: AtomicPtr::new(ptr::null_mut()) }
    }

    /// The properties of an object of this class, in the order in which they are declared.
    ///
    /// SAFETY: `object` is a live object of this class, which is final, so that its table has these slots and no others.
    unsafe fn slots<'a>(&self, object: *mut ZendObject) -> &'a mut [Zval] {
        // SAFETY: promised by the caller; the table begins with the slot that its declaration shows.
        unsafe { slice::from_raw_parts_mut((&raw mut (*object).properties_table).cast(), self.properties.len()) }
    }

    fn entry_ptr(&self) -> *mut ClassEntry {
        // Written by MINIT, which runs before any thread of PHP that could read it.
        self.entry.load(Ordering::Relaxed)
    }

    fn register(&self, builder: ClassBuilder) -> Result<(), String> {
        static REGISTERED: AtomicPtr<ClassEntry> = AtomicPtr::new(ptr::null_mut());
        // Without methods there are no argument tables to keep; `register_value` adds them itself.
        let keep = |entry: &'static mut ClassEntry, _: ArgInfoTables| REGISTERED.store(entry, Ordering::Relaxed);
        builder.registration(keep).register().map_err(|error| format!("class {}: {error}", self.name))?;
        self.entry.store(REGISTERED.load(Ordering::Relaxed), Ordering::Relaxed);
        Ok(())
    }

    /// An interface below `Throwable`.
    pub(crate) fn register_marker(&self) -> Result<(), String> {
        let builder = ClassBuilder::new(self.name).flags(ClassFlags::Interface);
        self.register(builder.implements((ce::throwable, "\\Throwable")))
    }

    /// A `RuntimeException` that implements `marker`: file, line, trace, code and previous are PHP's own.
    pub(crate) fn register_exception(&self, marker: fn() -> &'static ClassEntry) -> Result<(), String> {
        // SAFETY: SPL is part of every PHP and starts before us.
        let parent = || unsafe { &*spl_ce_RuntimeException };
        let builder = ClassBuilder::new(self.name).extends((parent, "\\RuntimeException"));
        self.register(builder.implements((marker, "\\Push\\Exception\\PushException")))
    }

    /// A final class whose typed properties are readonly, with its methods and their flags.
    pub(crate) fn register_value(&self, methods: &[(Function, MethodFlags)]) -> Result<(), String> {
        let flags = ClassFlags::Final | ClassFlags::ReadonlyClass | ClassFlags::NoDynamicProperties;
        self.register(ClassBuilder::new(self.name).flags(flags))?;
        let flags = PropertyFlags::Public.bits() | READONLY;
        for Property { name, type_, nullable } in self.properties {
            // Typed and without default, so it starts uninitialised.
            let mut default = Zval::new();
            default.u1.type_info = ffi::IS_UNDEF;
            // SAFETY: the class was just registered, MINIT runs alone, and the interned name lives as long as PHP.
            let property = unsafe {
                let name = ZendStr::new_interned(name, true).into_raw();
                let flags = c_int::try_from(flags).unwrap_or(0);
                zend_declare_typed_property(
                    self.entry_ptr(),
                    name,
                    &raw mut default,
                    flags,
                    ptr::null_mut(),
                    type_.zend(*nullable),
                )
            };
            if property.is_null() {
                return Err(format!("class {}: property {name} was refused", self.name));
            }
        }
        let (mut entries, infos): (Vec<_>, Vec<_>) =
            methods.iter().map(|(method, flags)| method.method(*flags)).unzip();
        entries.push(FunctionEntry::end());
        // The engine points into the tables of the arguments for as long as it has the class.
        let _: &'static ArgInfoTables = Box::leak(Box::new(infos.into_boxed_slice()));
        // SAFETY: as above; the engine copies the entries, up to the one that ends them.
        let registered = unsafe {
            let table = &raw mut (*self.entry_ptr()).function_table;
            zend_register_functions(self.entry_ptr(), entries.as_ptr(), table, MODULE_PERSISTENT)
        };
        if registered != SUCCESS {
            return Err(format!("class {}: its methods were refused", self.name));
        }
        Ok(())
    }

    /// Its entry, once it is registered.
    pub(crate) fn entry(&self) -> &'static ClassEntry {
        // SAFETY: only asked for after `register`, and the engine keeps the entry until the module ends.
        unsafe { &*self.entry_ptr() }
    }
}

/// What an INI entry of ours is set to now; `None` when there is no such entry or it is empty, which means "not set".
pub(crate) fn ini(name: &str) -> Option<String> {
    let mut exists = false;
    // SAFETY: the name is valid for its length; the engine returns its own terminated text, copied here at once.
    unsafe {
        let value = zend_ini_string_ex(name.as_ptr().cast(), name.len(), 0, &raw mut exists);
        if value.is_null() {
            return None;
        }
        let value = CStr::from_ptr(value).to_string_lossy();
        (!value.is_empty()).then(|| value.into_owned())
    }
}

/// Whether an INI file or the command line mentions the entry, be it with an empty value.
pub(crate) fn ini_given(name: &str) -> bool {
    // SAFETY: the name is valid for its length; only whether there is an entry is looked at.
    unsafe { !cfg_get_entry(name.as_ptr().cast(), name.len()).is_null() }
}

/// One entry to register. `changed` is told the new text, and whether PHP is starting; `false` refuses it.
pub(crate) struct IniEntry {
    name: String,
    default: &'static CStr,
    permission: IniEntryPermission,
    changed: Option<fn(&str, bool) -> bool>,
}

impl IniEntry {
    /// Set in a file or on the command line only.
    pub(crate) fn system(name: impl Into<String>, default: &'static CStr) -> Self {
        Self { name: name.into(), default, permission: IniEntryPermission::System, changed: None }
    }

    /// Also set by scripts.
    pub(crate) fn changeable(name: impl Into<String>, default: &'static CStr, changed: fn(&str, bool) -> bool) -> Self {
        Self { permission: IniEntryPermission::All, ..Self::by_pool(name, default, changed) }
    }

    /// Not set by scripts, but by a pool of php-fpm in its workers.
    pub(crate) fn by_pool(name: impl Into<String>, default: &'static CStr, changed: fn(&str, bool) -> bool) -> Self {
        Self { changed: Some(changed), ..Self::system(name, default) }
    }

    fn definition(self) -> IniEntryDef {
        // None of our names has a NUL; from PHP 8.5 on the engine keeps pointing to them.
        let name: &'static CStr = Box::leak(CString::new(self.name).unwrap_or_default().into());
        let mut entry = IniEntryDef::new(name, self.default, self.permission);
        if let Some(changed) = self.changed {
            entry.on_modify = Some(ini_modified);
            entry.mh_arg1 = changed as *mut c_void;
        }
        entry
    }
}

/// A finished table. It holds pointers, here only to what was leaked for it and to functions.
struct IniTable(Vec<IniEntryDef>);

// SAFETY: built once and never changed, and what it points to lives as long as the process.
unsafe impl Send for IniTable {}
// SAFETY: as above.
unsafe impl Sync for IniTable {}

/// Registers the module's entries. MINIT may run again in the same process; the table is made once.
pub(crate) fn register_ini(module: c_int, entries: impl FnOnce() -> Vec<IniEntry>) {
    static TABLE: OnceLock<IniTable> = OnceLock::new();
    let end = || std::iter::once(IniEntryDef::end());
    let table = TABLE.get_or_init(|| IniTable(entries().into_iter().map(IniEntry::definition).chain(end()).collect()));
    IniEntryDef::register(&table.0, module);
}

extern "C" fn ini_modified(
    _: *mut ffi::zend_ini_entry,
    value: *mut ffi::zend_string,
    changed: *mut c_void,
    _: *mut c_void,
    _: *mut c_void,
    stage: c_int,
) -> c_int {
    /// `ZEND_INI_STAGE_STARTUP`
    const STARTUP: c_int = 1;
    // SAFETY: PHP passes the new value, or null for none; the third argument is the function that `definition` put there.
    let (text, changed) = unsafe {
        let text = if value.is_null() { Cow::Borrowed("") } else { String::from_utf8_lossy(bytes(value)) };
        (text, std::mem::transmute::<*mut c_void, fn(&str, bool) -> bool>(changed))
    };
    let accepted = catch_unwind(|| changed(&text, stage == STARTUP)).unwrap_or(false);
    if accepted { SUCCESS } else { FAILURE }
}

/// A warning of the start, which PHP writes to its log or to stderr.
pub(crate) fn warn_at_start(text: &str) {
    let text = terminated(text);
    // SAFETY: "%s" takes the one terminated text.
    unsafe { zend_error(ffi::E_CORE_WARNING.cast_signed(), c"%s".as_ptr(), text.as_ptr()) };
}

/// The HTTP request that PHP answers.
pub(crate) struct HttpRequest {
    /// What follows the question mark of its address.
    pub(crate) query: Vec<u8>,
    /// Where output began, when the head of the answer is gone: file and line, or nothing where PHP does not know.
    pub(crate) answered: Option<String>,
}

/// The request that PHP answers; a program on the command line answers none.
pub(crate) fn http_request() -> Option<HttpRequest> {
    // SAFETY: the engine's own globals of this thread, which live as long as PHP. Its texts are null or terminated, and
    // copied at once.
    unsafe {
        let globals = ffi::ext_php_rs_sapi_globals();
        let request = &(*globals).request_info;
        if request.request_method.is_null() {
            return None;
        }
        let query = match request.query_string.is_null() {
            true => Vec::new(),
            false => CStr::from_ptr(request.query_string).to_bytes().to_vec(),
        };
        let answered = ((*globals).headers_sent != 0).then(|| {
            let file = php_output_get_start_filename();
            match file.is_null() {
                true => String::new(),
                false => format!("{}:{}", CStr::from_ptr(file).to_string_lossy(), php_output_get_start_lineno()),
            }
        });
        Some(HttpRequest { query, answered })
    }
}

/// How much a line in PHP's log matters, as in syslog(3).
#[derive(Clone, Copy)]
pub(crate) enum Severity {
    Warning = 4,
    Notice = 5,
}

/// A line in PHP's log, of the start of a server. Without a php.ini PHP would show a warning, to nobody, and not log it.
pub(crate) fn log_at_start(text: &str, severity: Severity) {
    let text = match severity {
        Severity::Warning => terminated(&format!("PHP Warning:  {text}")),
        Severity::Notice => terminated(text),
    };
    // SAFETY: PHP copies the terminated text.
    unsafe { php_log_err_with_severity(text.as_ptr().cast(), severity as c_int) };
}

/// The section of `phpinfo()`: a table of these rows, then the INI entries.
pub(crate) fn info(module: *mut ffi::zend_module_entry, rows: &[(&str, String)]) {
    // SAFETY: PHP prints and copies; each row passes its two terminated texts.
    unsafe {
        ffi::php_info_print_table_start();
        for (name, value) in rows {
            let (name, value) = (terminated(name), terminated(value));
            ffi::php_info_print_table_row(2, name.as_ptr(), value.as_ptr());
        }
        ffi::php_info_print_table_end();
        display_ini_entries(module);
    }
}
