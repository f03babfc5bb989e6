//! The arguments of a call, converted as php-src converts them: the one phase of a call in which PHP code runs.
//!
//! What is read here stays where PHP keeps it, in the slots of the call or in values of PHP's own, so that a fatal error of
//! PHP on the way leaves nothing of ours behind.

use std::ffi::{CStr, c_char};
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr;

use ext_php_rs::boxed::ZBox;
use ext_php_rs::ffi;
use ext_php_rs::types::{ZendHashTable, ZendObject, ZendStr, Zval};
use ext_php_rs::zend::{ClassEntry, ExecuteData};

use super::{
    Class, Failure, Outcome, Property, SUCCESS, Value, append, bytes, object_init_ex, refuse, size, terminated,
    zend_argument_error,
};

// What php-src exports and ext-php-rs does not bind. Signatures as in Zend/zend_API.h and ext/json of PHP 8.2 to 8.5.
unsafe extern "C" {
    static php_json_exception_ce: *mut ClassEntry;

    fn convert_to_object(value: *mut Zval);

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
}

/// The arguments of one call. Numbers count from 1, as PHP counts them. A parameter that was not given reads as its
/// default; values are coerced and refused as php-src does for its own functions, `strict_types` included.
pub(crate) struct Args<'a> {
    pub(super) frame: &'a ExecuteData,
    pub(super) count: u32,
    pub(super) result: *mut Zval,
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

    /// `string|int`, required.
    pub(crate) fn string_or_int(&self, number: u32) -> Result<StringOrInt<'a>, Failure> {
        let slot = self.slot(number).ok_or(Failure::Thrown)?;
        self.read_string_or_int(number, slot, c"string|int")
    }

    /// `string|int|null = null`.
    pub(crate) fn nullable_string_or_int(&self, number: u32) -> Result<Option<StringOrInt<'a>>, Failure> {
        self.given(number).map(|slot| self.read_string_or_int(number, slot, c"string|int|null")).transpose()
    }

    fn read_string_or_int(&self, number: u32, slot: *mut Zval, expected: &CStr) -> Result<StringOrInt<'a>, Failure> {
        let (mut string, mut long) = (ptr::null_mut(), 0);
        // SAFETY: as in `read_string`; of the two results the engine sets one, and leaves the string null for an integer.
        unsafe {
            if (*slot).is_string() {
                string = (*slot).value.str_;
            } else if let Some(value) = (*slot).long() {
                long = value;
            } else if !zend_parse_arg_str_or_long_slow(slot, &raw mut string, &raw mut long, number) {
                return Err(wrong_type(number, expected, slot));
            }
            Ok(if string.is_null() { StringOrInt::Int(long) } else { StringOrInt::String(bytes(string)) })
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

    /// `array = []`, as a JSON object whatever its keys are; nothing when it is empty. Read it last, as [`data`](Self::data).
    pub(crate) fn json_object(&self, number: u32, encoding_error: &'static Class) -> Result<Option<Json>, Failure> {
        if self.slot(number).is_none() {
            return Ok(None);
        }
        let given = self.array(number)?;
        if given.is_empty() {
            return Ok(None);
        }
        let Some(slot) = self.slot(number) else { return Ok(None) };
        // SAFETY: a slot of this call with an array, of which the object gets a share or a copy.
        let mut object = unsafe { (*slot).shallow_clone() };
        // SAFETY: ours alone, and an array becomes an object without running PHP code.
        unsafe { convert_to_object(&raw mut object) };
        json(&raw const object, encoding_error).map(Some)
    }

    /// `array` of integers and strings, required. Nothing is converted, so no PHP code runs while it is read.
    pub(crate) fn strings_or_ints(
        &self,
        number: u32,
    ) -> Result<impl Iterator<Item = StringOrInt<'a>> + use<'a>, Failure> {
        let given = self.array(number)?;
        if let Some((place, value)) =
            given.values().map(Zval::dereference).enumerate().find(|(_, value)| !value.is_string() && !value.is_long())
        {
            return Err(wrong_element(number, c"values of type string|int", place, value));
        }
        Ok(given.values().map(Zval::dereference).filter_map(|value| match value.long() {
            Some(long) => Some(StringOrInt::Int(long)),
            None => value.zend_str().map(|text| StringOrInt::String(text.as_bytes())),
        }))
    }

    /// `string|array` of strings, required. Read it last: the list is Rust's, and PHP code could change what it refers to.
    pub(crate) fn strings(&self, number: u32) -> Result<Vec<&'a [u8]>, Failure> {
        let slot = self.slot(number).ok_or(Failure::Thrown)?;
        // SAFETY: as in `array`.
        let Some(given) = (unsafe { (*slot).array() }) else {
            return Ok(vec![self.read_string(number, Some(slot), c"array|string")?]);
        };
        let text = |(place, value): (usize, &'a Zval)| {
            let text = value.zend_str().map(ZendStr::as_bytes);
            text.ok_or_else(|| wrong_element(number, c"values of type string", place, value))
        };
        given.values().map(Zval::dereference).enumerate().map(text).collect()
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
                let expected = terminated(&format!("{} objects", class.name));
                // The text has its NUL.
                return Err(wrong_element(
                    number,
                    CStr::from_bytes_until_nul(&expected).unwrap_or_default(),
                    place,
                    value,
                ));
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

/// What a constructor sets a property to.
pub(crate) enum Field {
    /// What was given for the argument of this number, which was read as the property's type; without one, null. Only for
    /// what PHP converts in place, which are strings.
    Argument(u32),
    Is(Value),
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
fn wrong_element(number: u32, expected: &CStr, place: usize, given: &Zval) -> Failure {
    // SAFETY: as in `wrong_type`; the number is passed as the `size_t` that "%zu" takes.
    unsafe {
        let format = c"must contain only %s, %s given as element %zu";
        zend_argument_error(
            ffi::zend_ce_type_error,
            number,
            format.as_ptr(),
            expected.as_ptr(),
            type_name(given),
            place,
        );
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
