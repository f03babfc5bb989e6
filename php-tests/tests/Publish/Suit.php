<?php

declare(strict_types=1);

namespace Push\Tests\Publish;

enum Suit: string
{
    case Hearts = 'hearts';
}
