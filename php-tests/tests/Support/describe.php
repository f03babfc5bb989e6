<?php

/** Prints as JSON all that Reflection says of the extension push, or of what the file given as argument declares. */

declare(strict_types=1);

function parameter(ReflectionParameter $parameter): array
{
    return [
        'name' => $parameter->getName(),
        'type' => (string) $parameter->getType(),
        'optional' => $parameter->isOptional(),
        'default' => $parameter->isDefaultValueAvailable() ? var_export($parameter->getDefaultValue(), true) : null,
        'by reference' => $parameter->isPassedByReference(),
        'variadic' => $parameter->isVariadic(),
    ];
}

function callable_(ReflectionFunctionAbstract $function): array
{
    return [
        'parameters' => array_map(parameter(...), $function->getParameters()),
        'returns' => (string) $function->getReturnType(),
        'returns reference' => $function->returnsReference(),
        'deprecated' => $function->isDeprecated(),
        'modifiers' => $function instanceof ReflectionMethod ? Reflection::getModifierNames($function->getModifiers()) : [],
    ];
}

function property(ReflectionProperty $property): array
{
    return [
        'type' => (string) $property->getType(),
        'modifiers' => Reflection::getModifierNames($property->getModifiers()),
        'default' => $property->hasDefaultValue(),
    ];
}

function type(ReflectionClass $class): array
{
    $own = static fn ($member): bool => $member->class === $class->getName();
    $methods = array_filter($class->getMethods(), $own);
    $properties = array_filter($class->getProperties(), $own);
    $interfaces = $class->getInterfaceNames();
    sort($interfaces);

    return [
        'interface' => $class->isInterface(),
        'final' => $class->isFinal(),
        'abstract' => $class->isAbstract(),
        'readonly' => $class->isReadOnly(),
        'parent' => $class->getParentClass() ? $class->getParentClass()->getName() : null,
        'interfaces' => $interfaces,
        'constants' => $class->getConstants(),
        'methods' => array_combine(array_column($methods, 'name'), array_map(callable_(...), $methods)),
        'properties' => array_combine(array_column($properties, 'name'), array_map(property(...), $properties)),
    ];
}

$file = $argv[1] ?? '';
if ($file === '') {
    $extension = new ReflectionExtension('push');
    $functions = $extension->getFunctions();
    $classes = $extension->getClasses();
    $constants = $extension->getConstants();
} else {
    $before = get_defined_constants();
    require $file;
    $here = static fn ($reflection): bool => $reflection->getFileName() === realpath($file);
    $names = get_defined_functions()['user'];
    $functions = array_filter(array_map(static fn ($name) => new ReflectionFunction($name), $names), $here);
    $functions = array_combine(array_column($functions, 'name'), $functions);
    $names = [...get_declared_classes(), ...get_declared_interfaces()];
    $classes = array_filter(array_map(static fn ($name) => new ReflectionClass($name), $names), $here);
    $classes = array_combine(array_column($classes, 'name'), $classes);
    $constants = array_diff_key(get_defined_constants(), $before);
}
$functions = array_map(callable_(...), $functions);
$classes = array_map(type(...), $classes);
ksort($functions);
ksort($classes);
echo json_encode(['functions' => $functions, 'classes' => $classes, 'constants' => $constants], JSON_THROW_ON_ERROR);
