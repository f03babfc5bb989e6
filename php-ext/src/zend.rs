//! Arguments, results, classes and exceptions as PHP expects them, over the Zend API.
//!
//! A call has three phases, and this file keeps them apart. [`Args`] converts the arguments as php-src converts them
//! (this may run PHP code: `__toString`, error handlers, `jsonSerialize`). Then plain Rust runs and calls nothing of PHP.
//! Then [`enter`] parks the [`Outcome`] in the module's globals and copies it to PHP. A fatal error of PHP leaves by
//! `longjmp` and runs no destructor; with these phases it never finds a lock, a borrow or a heap value of ours on the way.
//! What the functions and classes are called is decided elsewhere.

use std::borrow::Cow;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::slice;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use ext_php_rs::args::{ArgInfo, ArgInfoTables};
use ext_php_rs::boxed::ZBox;
use ext_php_rs::builders::ClassBuilder;
use ext_php_rs::ffi;
pub(crate) use ext_php_rs::flags::MethodFlags;
use ext_php_rs::flags::{ClassFlags, DataType, IniEntryPermission, PropertyFlags};
use ext_php_rs::types::{ZendHashTable, ZendObject, ZendStr, Zval};
use ext_php_rs::zend::{ClassEntry, ExecuteData, FunctionEntry, IniEntryDef, ZendType, ce, run_handler};

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
    static php_json_exception_ce: *mut ClassEntry;

    fn zend_wrong_parameters_count_error(min: u32, max: u32);
    fn zend_argument_error(class: *mut ClassEntry, number: u32, format: *const c_char, ...);
    fn zend_parse_arg_str_slow(arg: *mut Zval, dest: *mut *mut ffi::zend_string, number: u32) -> bool;
    fn zend_parse_arg_long_slow(arg: *mut Zval, dest: *mut ffi::zend_long, number: u32) -> bool;
    fn zend_parse_arg_bool_slow(arg: *mut Zval, dest: *mut bool, number: u32) -> bool;
    fn zend_parse_arg_double_slow(arg: *mut Zval, dest: *mut f64, number: u32) -> bool;
    fn zend_parse_arg_str_or_long_slow(
        arg: *mut Zval,
        string: *mut *mut ffi::zend_string,
        long: *mut ffi::zend_long,
        number: u32,
    ) -> bool;
    #[cfg(not(php83))]
    fn zend_zval_type_name(arg: *const Zval) -> *const c_char;
    #[cfg(php83)]
    fn zend_zval_value_name(arg: *const Zval) -> *const c_char;

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
            Self::None | Self::Void | Self::Float | Self::Array | Self::IntOrString | Self::Object(_) => false,
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

/// What a constructor sets a property to.
pub(crate) enum Field {
    /// What was given for the argument of this number, which was read as the property's type; without one, null. Only for
    /// what PHP converts in place, which are strings.
    Argument(u32),
    Is(Value),
}

/// Why a call ends without a value.
pub(crate) enum Failure {
    /// PHP has an exception pending already.
    Thrown,
    /// A `ValueError`: "push_publish(): Argument #1 ($channel) " and the text.
    Argument(u32, Cow<'static, str>),
    /// A `ValueError` that concerns no single argument.
    Value(String),
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

/// The arguments of one call. Numbers count from 1, as PHP counts them. A parameter that was not given reads as its
/// default; values are coerced and refused as php-src does for its own functions, `strict_types` included.
pub(crate) struct Args<'a> {
    frame: &'a ExecuteData,
    count: u32,
    result: *mut Zval,
}

impl<'a> Args<'a> {
    /// The slot of an argument that was given.
    fn slot(&self, number: u32) -> Option<*mut Zval> {
        if number > self.count {
            return None;
        }
        // SAFETY: the frame has `count` argument slots, and `number` counts from 1.
        let slot: &mut Zval = unsafe { self.frame.zend_call_arg(number as usize - 1) }?;
        Some(ptr::from_mut(slot.dereference_mut()))
    }

    fn given(&self, number: u32) -> Option<*mut Zval> {
        // SAFETY: a slot of this call, initialised by the engine.
        self.slot(number).filter(|slot| !unsafe { (**slot).is_null() })
    }

    /// `string`, required.
    pub(crate) fn string(&self, number: u32) -> Result<&'a [u8], Failure> {
        self.read_string(number, self.slot(number), c"string")
    }

    /// `?string = null`.
    pub(crate) fn nullable_string(&self, number: u32) -> Result<Option<&'a [u8]>, Failure> {
        let given = self.given(number);
        given.map(|slot| self.read_string(number, Some(slot), c"?string")).transpose()
    }

    /// `string = ''`.
    pub(crate) fn string_or_empty(&self, number: u32) -> Result<&'a [u8], Failure> {
        let slot = self.slot(number);
        slot.map_or(Ok(&[]), |slot| self.read_string(number, Some(slot), c"string"))
    }

    fn read_string(&self, number: u32, slot: Option<*mut Zval>, expected: &CStr) -> Result<&'a [u8], Failure> {
        let slot = slot.ok_or(Failure::Thrown)?;
        let mut string = ptr::null_mut();
        // SAFETY: a slot of this call. A value that is not yet a string is converted in the slot, which owns the result.
        unsafe {
            if (*slot).is_string() {
                string = (*slot).value.str_;
            } else if !zend_parse_arg_str_slow(slot, &raw mut string, number) {
                return Err(wrong_type(number, expected, slot));
            }
            Ok(bytes(string))
        }
    }

    /// `?int = null`.
    pub(crate) fn nullable_int(&self, number: u32) -> Result<Option<i64>, Failure> {
        self.given(number).map(|slot| self.read_int(number, slot, c"?int")).transpose()
    }

    fn read_int(&self, number: u32, slot: *mut Zval, expected: &CStr) -> Result<i64, Failure> {
        let mut value = 0;
        // SAFETY: as in `read_string`.
        unsafe {
            if let Some(long) = (*slot).long() {
                return Ok(long);
            }
            if zend_parse_arg_long_slow(slot, &raw mut value, number) {
                return Ok(value);
            }
        }
        Err(wrong_type(number, expected, slot))
    }

    /// `int` with this default.
    pub(crate) fn int_or(&self, number: u32, default: i64) -> Result<i64, Failure> {
        self.slot(number).map_or(Ok(default), |slot| self.read_int(number, slot, c"int"))
    }

    /// `bool` with this default.
    pub(crate) fn bool_or(&self, number: u32, default: bool) -> Result<bool, Failure> {
        let Some(slot) = self.slot(number) else { return Ok(default) };
        let mut value = false;
        // SAFETY: as in `read_string`.
        unsafe {
            if let Some(bool) = (*slot).bool() {
                return Ok(bool);
            }
            if zend_parse_arg_bool_slow(slot, &raw mut value, number) {
                return Ok(value);
            }
        }
        Err(wrong_type(number, c"bool", slot))
    }

    /// `float` with this default.
    pub(crate) fn float_or(&self, number: u32, default: f64) -> Result<f64, Failure> {
        let Some(slot) = self.slot(number) else { return Ok(default) };
        let mut value = 0.0;
        // SAFETY: as in `read_string`.
        unsafe {
            if (*slot).is_double() {
                return Ok((*slot).value.dval);
            }
            if zend_parse_arg_double_slow(slot, &raw mut value, number) {
                return Ok(value);
            }
        }
        Err(wrong_type(number, c"float", slot))
    }

    /// `string|int|null = null`.
    pub(crate) fn nullable_string_or_int(&self, number: u32) -> Result<Option<StringOrInt<'a>>, Failure> {
        let Some(slot) = self.given(number) else { return Ok(None) };
        let (mut string, mut long) = (ptr::null_mut(), 0);
        // SAFETY: as in `read_string`; of the two results the engine sets one, and leaves the string null for an integer.
        unsafe {
            if (*slot).is_string() {
                string = (*slot).value.str_;
            } else if let Some(value) = (*slot).long() {
                long = value;
            } else if !zend_parse_arg_str_or_long_slow(slot, &raw mut string, &raw mut long, number) {
                return Err(wrong_type(number, c"string|int|null", slot));
            }
            Ok(Some(if string.is_null() { StringOrInt::Int(long) } else { StringOrInt::String(bytes(string)) }))
        }
    }

    /// `mixed`, required: a string as its bytes, anything else as JSON. Read it last: the JSON exists until it is dropped.
    pub(crate) fn data(&self, number: u32, encoding_error: &'static Class) -> Result<Data<'a>, Failure> {
        let slot = self.slot(number).ok_or(Failure::Thrown)?;
        // SAFETY: a slot of this call; what is a string stays one until the call ends.
        unsafe {
            if (*slot).is_string() {
                Ok(Data::Bytes(bytes((*slot).value.str_)))
            } else {
                json(slot, encoding_error).map(Data::Json)
            }
        }
    }

    /// `array`, required. It stays as it is until the call ends, whatever PHP code runs meanwhile.
    fn array(&self, number: u32) -> Result<&'a ZendHashTable, Failure> {
        let slot = self.slot(number).ok_or(Failure::Thrown)?;
        // SAFETY: a slot of this call, which owns a share of the array: who writes to it elsewhere gets a copy.
        unsafe { (*slot).array() }.ok_or_else(|| wrong_type(number, c"array", slot))
    }

    /// `array` of objects of this final class, required.
    pub(crate) fn objects(&self, number: u32, class: &'static Class) -> Result<Objects, Failure> {
        let given = self.array(number)?;
        let mut held = ZendHashTable::with_capacity(size(given.len()));
        for (place, value) in given.values().enumerate() {
            let value = value.dereference();
            if !value.object().is_some_and(|object| ptr::eq(object.ce, class.entry_ptr())) {
                return Err(wrong_element(number, class, place, value));
            }
            append(&mut held, value.shallow_clone());
        }
        Ok(Objects { class, held })
    }

    /// For a constructor: gives the new object these values, and null for its further properties. An object that has some
    /// already keeps them, as PHP has it.
    pub(crate) fn construct<const N: usize>(&self, class: &'static Class, fields: [Field; N]) -> Outcome {
        // SAFETY: in a constructor `This` is an object of the class.
        let slots = unsafe { class.slots(self.frame.This.value.obj) };
        if let Some((property, _)) = class.properties.iter().zip(&*slots).find(|(_, slot)| !undefined(slot)) {
            return Err(refuse(&format!("Cannot modify readonly property {}::${}", class.name, property.name)));
        }
        let missing = std::iter::repeat_with(|| Field::Is(Value::Null));
        for (slot, field) in slots.iter_mut().zip(fields.into_iter().chain(missing)) {
            let mut value = Zval::null();
            match field {
                Field::Argument(number) => {
                    // SAFETY: a slot of this call, initialised by the engine.
                    value = self.slot(number).map_or(value, |slot| unsafe { (*slot).shallow_clone() });
                }
                Field::Is(known) => known.write(&mut value),
            }
            *slot = value;
        }
        Ok(Value::Null)
    }

    /// `__set_state(array $array)`, for what `var_export()` wrote.
    pub(crate) fn restore(&self, class: &'static Class) -> Outcome {
        let state = self.array(1)?;
        let value = |property: &Property| {
            let value = state.get(property.name)?.dereference();
            let fits = property.type_.holds(value) || (property.nullable && value.is_null());
            fits.then_some(value)
        };
        if !class.properties.iter().all(|property| value(property).is_some()) {
            return Err(refuse(&format!("Invalid serialization data for {} object", class.name)));
        }
        // SAFETY: the result's place is the engine's for this call; an object of our class is plain.
        let slots = unsafe {
            if object_init_ex(self.result, class.entry_ptr()) != SUCCESS {
                return Err(Failure::Thrown);
            }
            class.slots((*self.result).value.obj)
        };
        for (slot, value) in slots.iter_mut().zip(class.properties.iter().filter_map(value)) {
            *slot = value.shallow_clone();
        }
        Ok(Value::Delivered)
    }
}

/// Objects of one final class, held so that PHP code that runs meanwhile cannot take them away.
pub(crate) struct Objects {
    class: &'static Class,
    held: ZBox<ZendHashTable>,
}

impl Objects {
    pub(crate) fn iter(&self) -> impl Iterator<Item = Object<'_>> {
        // SAFETY: `Args::objects` let in objects of this class only.
        let fields = |object: &ZendObject| Object(unsafe { &*self.class.slots(ptr::from_ref(object).cast_mut()) });
        self.held.values().filter_map(Zval::object).map(fields)
    }

    /// What is to be sent of this property of each: a string as its bytes, anything else as JSON. Runs PHP code.
    pub(crate) fn payloads(&self, number: usize, encoding_error: &'static Class) -> Result<Payloads, Failure> {
        let mut texts = ZendHashTable::with_capacity(2 * size(self.held.len()));
        for object in self.iter() {
            let value = object.value(number);
            let json = !value.is_string();
            let text = if json { self::json(value, encoding_error)?.0 } else { value.shallow_clone() };
            append(&mut texts, text);
            append(&mut texts, json.into());
        }
        Ok(Payloads(texts))
    }
}

/// The properties of one of them, numbered as they are declared. What has no value reads as `None`, as null does.
#[derive(Clone, Copy)]
pub(crate) struct Object<'a>(&'a [Zval]);

impl<'a> Object<'a> {
    /// Whether every property has a value; `unserialize()` makes objects that lack some.
    pub(crate) fn is_complete(self) -> bool {
        !self.0.iter().any(undefined)
    }

    fn value(self, number: usize) -> &'a Zval {
        self.0[number].dereference()
    }

    pub(crate) fn string(self, number: usize) -> Option<&'a [u8]> {
        self.value(number).zend_str().map(ZendStr::as_bytes)
    }

    pub(crate) fn int(self, number: usize) -> Option<i64> {
        self.value(number).long()
    }

    pub(crate) fn bool(self, number: usize) -> Option<bool> {
        self.value(number).bool()
    }
}

/// What is to be sent of each object: in PHP's memory, a text and whether it is JSON, in turn.
pub(crate) struct Payloads(ZBox<ZendHashTable>);

impl Payloads {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], bool)> {
        let texts = self.0.values().step_by(2).filter_map(Zval::zend_str).map(ZendStr::as_bytes);
        texts.zip(self.0.values().skip(1).step_by(2).filter_map(Zval::bool))
    }
}

/// Whether a property's slot has no value yet.
fn undefined(slot: &Zval) -> bool {
    // SAFETY: every value has a type.
    unsafe { slot.u1.type_info == ffi::IS_UNDEF }
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

/// A `TypeError` in the engine's words.
fn wrong_type(number: u32, expected: &CStr, given: *const Zval) -> Failure {
    // SAFETY: inside the call whose argument is wrong; two texts for two "%s". With an exception pending already, such as
    // one thrown by an error handler during the conversion, the engine keeps that one.
    unsafe {
        let format = c"must be of type %s, %s given";
        zend_argument_error(ffi::zend_ce_type_error, number, format.as_ptr(), expected.as_ptr(), type_name(given));
    }
    Failure::Thrown
}

/// A `TypeError` for an element of an array; `place` counts from 0.
fn wrong_element(number: u32, class: &'static Class, place: usize, given: &Zval) -> Failure {
    let text = terminated(class.name);
    // SAFETY: as in `wrong_type`; the number is passed as the `size_t` that "%zu" takes.
    unsafe {
        let format = c"must contain only %s objects, %s given as element %zu";
        zend_argument_error(ffi::zend_ce_type_error, number, format.as_ptr(), text.as_ptr(), type_name(given), place);
    }
    Failure::Thrown
}

/// What PHP calls the type of the value.
fn type_name(value: *const Zval) -> *const c_char {
    // SAFETY: a live value; the name lives as long as PHP, or as its class.
    unsafe {
        #[cfg(php83)]
        return zend_zval_value_name(value);
        #[cfg(not(php83))]
        return zend_zval_type_name(value);
    }
}

/// What [`Args::nullable_string_or_int`] found.
pub(crate) enum StringOrInt<'a> {
    String(&'a [u8]),
    Int(i64),
}

/// What there is to publish.
pub(crate) enum Data<'a> {
    Bytes(&'a [u8]),
    Json(Json),
}

/// JSON text in PHP's memory, so that a bailout leaves nothing behind. Given back when dropped.
pub(crate) struct Json(Zval);

impl Deref for Json {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.zend_str().map_or(&[], |text| text.as_bytes())
    }
}

/// What `json_encode($value, JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES)` gives. A failure is `encoding_error` with
/// the `JsonException` as its previous; another exception, thrown by `jsonSerialize()`, passes through.
fn json(value: *const Zval, encoding_error: &'static Class) -> Result<Json, Failure> {
    const UNESCAPED_SLASHES: i64 = 1 << 6;
    const UNESCAPED_UNICODE: i64 = 1 << 8;
    const THROW_ON_ERROR: i64 = 1 << 22;
    let name = "json_encode";
    let mut text = Zval::new();
    // SAFETY: a live value, which stays with the caller's slot; nothing of ours is held while this runs PHP code. The
    // function exists unless it is disabled.
    unsafe {
        let function = ffi::zend_fetch_function_str(name.as_ptr().cast(), name.len());
        if function.is_null() {
            let text = "json_encode() is disabled, and data other than a string needs it".to_owned();
            return Err(Failure::Exception(encoding_error, 0, text));
        }
        let mut flags = Zval::new();
        flags.set_long(UNESCAPED_SLASHES | UNESCAPED_UNICODE | THROW_ON_ERROR);
        let mut arguments = [ptr::read(value), flags].map(ManuallyDrop::new);
        let (object, scope, names) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
        let (count, arguments) = (arguments.len() as u32, arguments.as_mut_ptr().cast());
        ffi::zend_call_known_function(function, object, scope, &raw mut text, count, arguments, names);
    }
    // SAFETY: json is part of every PHP and starts before us; a pending exception is alive, and reading the message that
    // every exception has runs no PHP code.
    unsafe {
        let pending = (*ffi::ext_php_rs_executor_globals()).exception;
        if pending.is_null() {
            return Ok(Json(text));
        }
        if (*pending).ce != php_json_exception_ce {
            return Err(Failure::Thrown);
        }
        let (property, mut buffer) = ("message", Zval::new());
        let scope = ffi::zend_ce_exception;
        let message =
            ffi::zend_read_property(scope, pending, property.as_ptr().cast(), property.len(), true, &raw mut buffer);
        let message = (*message).string().unwrap_or_default();
        // The engine makes the pending exception the previous of the one that follows.
        Err(Failure::Exception(encoding_error, 0, message))
    }
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
    changed: Option<fn(&str, bool) -> bool>,
}

impl IniEntry {
    /// Set in a file or on the command line only.
    pub(crate) fn system(name: impl Into<String>, default: &'static CStr) -> Self {
        Self { name: name.into(), default, changed: None }
    }

    /// Also set by scripts.
    pub(crate) fn changeable(name: impl Into<String>, default: &'static CStr, changed: fn(&str, bool) -> bool) -> Self {
        Self { name: name.into(), default, changed: Some(changed) }
    }

    fn definition(self) -> IniEntryDef {
        let permission = self.changed.map_or(IniEntryPermission::System, |_| IniEntryPermission::All);
        // None of our names has a NUL; from PHP 8.5 on the engine keeps pointing to them.
        let name: &'static CStr = Box::leak(CString::new(self.name).unwrap_or_default().into());
        let mut entry = IniEntryDef::new(name, self.default, permission);
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
